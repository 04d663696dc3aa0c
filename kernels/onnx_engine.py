"""ONNX Runtime engine. The provider really used is checked: it falls back in silence otherwise."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dualsys.errors import DualsysError
from kernels import hardware
from kernels.engine import Engine, TensorSpec, check_inputs

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}
CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
Options = dict[str, str]


class OnnxEngine:
    """Runs an ONNX model with fixed shapes on one provider of ONNX Runtime."""

    precision = "float32"

    def __init__(
        self,
        model: bytes,
        threads: int = 1,
        provider: str = CPU,
        options: Options | None = None,
        name: str = "onnxruntime",
        optimised: bool = True,
    ) -> None:
        self.name = name
        self._session = session(model, threads, provider, options or {}, optimised)
        self.inputs: Mapping[str, TensorSpec] = _specs(self._session.get_inputs())
        self.outputs: Mapping[str, TensorSpec] = _specs(self._session.get_outputs())
        self._names = list(self.outputs)

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the model once. Raises `SpecMismatchError` unless the arrays are `inputs`."""
        check_inputs(self.inputs, arrays)
        found = self._session.run(self._names, dict(arrays))
        return dict(zip(self._names, found, strict=True))


def session(
    model: bytes, threads: int, provider: str, options: Options, optimised: bool = True
) -> Any:
    """A session of ONNX Runtime that runs on `provider`, or `DualsysError`.

    Not `optimised`, it computes every node as the graph has it.
    """
    runtime = _runtime()
    if provider not in runtime.get_available_providers():
        raise DualsysError(
            f"this ONNX Runtime has no {provider} (it has "
            f"{', '.join(runtime.get_available_providers())}); install onnxruntime-gpu or choose "
            "another engine"
        )
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    if not optimised:
        settings.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if threads == 1:
        # A spinning pool would take the core from the other processes of a run.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        made = runtime.InferenceSession(model, settings, providers=[(provider, options)])
    except Exception as error:  # its bindings raise classes that have no common base
        reason = str(error).strip().splitlines()[-1]
        raise DualsysError(f"ONNX Runtime can not run this network: {reason}") from error
    used = made.get_providers()[0]
    if used != provider:
        raise DualsysError(
            f"ONNX Runtime was asked for {provider} and would run on {used}; install the "
            f"packages of {provider} or choose another engine"
        )
    return made


class OnnxRecipe:
    """On a processor or through CUDA: the file is the graph, the session is made in a moment."""

    precision, quick = "float32", True

    def __init__(self, name: str, provider: str) -> None:
        self.name, self._provider = name, provider

    def flags(self, threads: int) -> dict[str, str]:
        """Threads and provider."""
        return {"threads": str(threads), "provider": self._provider}

    def software(self) -> dict[str, str]:
        """ONNX Runtime's version."""
        return {"onnxruntime": _runtime().__version__}

    def hardware(self) -> dict[str, str]:
        """The processor, or the GPU."""
        return hardware.processor() if self._provider == CPU else hardware.gpu()

    def build(self, graph: bytes, threads: int) -> bytes:
        """The graph, once it has been loaded."""
        self.open(graph, threads)
        return graph

    def open(self, content: bytes, threads: int) -> Engine:
        """A session on the provider."""
        return OnnxEngine(content, threads, self._provider, self._options(), self.name)

    def _options(self) -> Options:
        # TF32 would make it another precision than its name says.
        return {"use_tf32": "0"} if self._provider == CUDA else {}


class OnnxTensorrtRecipe(OnnxRecipe):
    """ONNX Runtime's TensorRT provider: the file is a model that holds TensorRT's engine."""

    quick = False

    def __init__(self, name: str = "onnxruntime-tensorrt") -> None:
        super().__init__(name, TENSORRT)

    def build(self, graph: bytes, threads: int) -> bytes:
        """Let the provider build, and take the model that it writes with the engine inside."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "context.onnx"
            written = {
                "trt_dump_ep_context_model": "1",
                "trt_ep_context_embed_mode": "1",
                "trt_ep_context_file_path": str(file),
                "trt_builder_optimization_level": "3",
            }
            session(graph, threads, TENSORRT, written)
            if not file.is_file():
                raise DualsysError(
                    "ONNX Runtime's TensorRT provider wrote no engine; choose engine tensorrt or "
                    "onnxruntime-cuda"
                )
            return file.read_bytes()


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise DualsysError(
            f"engine onnxruntime needs the extra `onnx` ({error}); install dualsys[onnx]"
        ) from error
    return onnxruntime


def _specs(nodes: list[Any]) -> dict[str, TensorSpec]:
    return {str(node.name): TensorSpec(tuple(node.shape), _DTYPES[node.type]) for node in nodes}
