"""OpenVINO engine for processors. The precision really used is checked: a hint is only a hint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dualsys.errors import DualsysError
from kernels.engine import TensorSpec, check_inputs

PRECISIONS = ("float32", "bfloat16")


class OpenVinoEngine:
    """Runs an ONNX model with fixed shapes through OpenVINO, inputs and outputs without a copy.

    precision: "float32", or "bfloat16" where the processor multiplies in it.
    """

    def __init__(self, model: bytes, threads: int = 1, precision: str = "float32") -> None:
        try:
            import openvino
            from openvino import properties
        except ImportError as error:
            raise DualsysError(
                f"engine openvino needs the extra `openvino` ({error}); install dualsys[openvino]"
            ) from error
        if precision not in PRECISIONS:
            raise DualsysError(
                f"engine openvino computes in {' or '.join(PRECISIONS)}, {precision} was asked for"
            )
        wanted = getattr(openvino.Type, {"float32": "f32", "bfloat16": "bf16"}[precision])
        core = openvino.Core()
        try:
            compiled = core.compile_model(
                core.read_model(model),
                "CPU",
                {
                    properties.hint.inference_precision: wanted,
                    properties.hint.performance_mode: properties.hint.PerformanceMode.LATENCY,
                    # Where a process may run is the supervisor's affair.
                    properties.hint.enable_cpu_pinning: False,
                    properties.inference_num_threads: threads,
                    properties.num_streams: 1,
                },
            )
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise DualsysError(f"OpenVINO can not run this network: {reason}") from error
        used = compiled.get_property(properties.hint.inference_precision)
        if used != wanted or (precision == "bfloat16" and not _has_bfloat16(core, properties)):
            raise DualsysError(
                f"OpenVINO was asked for {precision} and would compute in {used.to_string()} on "
                "this processor; choose engine openvino, which computes in float32"
            )
        self.name = "openvino" if precision == "float32" else f"openvino-{wanted.to_string()}"
        self.precision = precision
        self._request = compiled.create_infer_request()
        self.inputs: Mapping[str, TensorSpec] = _specs(compiled.inputs)
        self.outputs: Mapping[str, TensorSpec] = _specs(compiled.outputs)

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the model once. Raises `SpecMismatchError` unless the arrays are `inputs`."""
        check_inputs(self.inputs, arrays)
        self._request.infer(dict(arrays), share_inputs=True, share_outputs=True)
        return {name: self._request.get_tensor(name).data for name in self.outputs}


def _has_bfloat16(core: Any, properties: Any) -> bool:
    return "BF16" in core.get_property("CPU", properties.device.capabilities)


def _specs(ports: list[Any]) -> dict[str, TensorSpec]:
    return {
        port.get_any_name(): TensorSpec(
            tuple(port.get_shape()), port.get_element_type().to_dtype().name
        )
        for port in ports
    }
