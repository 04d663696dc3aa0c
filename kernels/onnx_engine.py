"""ONNX Runtime engine. The provider really used is checked: it falls back in silence otherwise."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dualsys.errors import DualsysError
from kernels.engine import TensorSpec, check_inputs

_DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int64)": "int64"}


class OnnxEngine:
    """Runs an ONNX model with fixed shapes on one provider of ONNX Runtime."""

    name, precision = "onnxruntime", "float32"

    def __init__(
        self, model: bytes, threads: int = 1, provider: str = "CPUExecutionProvider"
    ) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise DualsysError(
                f"engine onnxruntime needs the extra `onnx` ({error}); install dualsys[onnx]"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if threads == 1:
            # A spinning pool would take the core from the other processes of a run.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(model, options, providers=[provider])
        used = self._session.get_providers()[0]
        if used != provider:
            raise DualsysError(
                f"ONNX Runtime was asked for {provider} and would run on {used}; install the "
                f"packages of {provider} or choose another engine"
            )
        self.inputs: Mapping[str, TensorSpec] = _specs(self._session.get_inputs())
        self.outputs: Mapping[str, TensorSpec] = _specs(self._session.get_outputs())
        self._names = list(self.outputs)

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the model once. Raises `SpecMismatchError` unless the arrays are `inputs`."""
        check_inputs(self.inputs, arrays)
        found = self._session.run(self._names, dict(arrays))
        return dict(zip(self._names, found, strict=True))


def _specs(nodes: list[object]) -> dict[str, TensorSpec]:
    return {
        str(node.name): TensorSpec(tuple(node.shape), _DTYPES[node.type])  # type: ignore[attr-defined]
        for node in nodes
    }
