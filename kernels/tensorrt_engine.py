"""Native TensorRT: an engine is run as one CUDA graph, without torch.

Written against what TensorRT 8.5 to 11 share; `kernels.tensorrt_build` makes the engines.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dualsys.errors import DualsysError
from kernels.cuda_run import CudaRun
from kernels.engine import TensorSpec, check_inputs

_TYPES = {"FLOAT": "float32", "HALF": "float16", "INT32": "int32", "INT64": "int64",
          "UINT8": "uint8", "INT8": "int8", "BOOL": "bool"}  # fmt: skip


class TensorrtEngine:
    """A deserialised engine with fixed shapes; outputs are views of its pinned buffers."""

    def __init__(self, content: bytes, name: str, precision: str) -> None:
        library = tensorrt_library()
        self.name, self.precision = name, precision
        self._log = error_log(library)
        self._runtime = library.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(content)
        if self._engine is None:
            raise DualsysError(
                f"TensorRT {library.__version__} can not read this engine "
                f"({self._log.last or 'no reason given'}); build it again with `dualsys build`"
            )
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise DualsysError(
                f"TensorRT has no memory to run this engine ({self._log.last}); free the GPU's "
                "memory (nvidia-smi shows who holds it)"
            )
        names = [self._engine.get_tensor_name(k) for k in range(self._engine.num_io_tensors)]
        given = library.TensorIOMode.INPUT
        sides: tuple[dict[str, TensorSpec], dict[str, TensorSpec]] = ({}, {})
        for tensor in names:
            sides[self._engine.get_tensor_mode(tensor) != given][tensor] = self._spec(tensor)
        self.inputs: Mapping[str, TensorSpec] = sides[0]
        self.outputs: Mapping[str, TensorSpec] = sides[1]
        self._run = CudaRun(self.inputs, self.outputs)
        for tensor, address in self._run.device.items():
            self._context.set_tensor_address(tensor, address)
        self._run.capture(self._enqueue)

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run once. Raises `SpecMismatchError` unless the arrays are exactly `inputs`."""
        check_inputs(self.inputs, arrays)
        self._run.launch(arrays)
        return {name: self._run.host[name] for name in self.outputs}

    def stages_ms(self) -> dict[str, float]:
        """Times of copies in, network and copies out, by the device's events."""
        return self._run.stages_ms(self._enqueue)

    def _spec(self, tensor: str) -> TensorSpec:
        shape = tuple(self._engine.get_tensor_shape(tensor))
        kind = self._engine.get_tensor_dtype(tensor).name
        if kind not in _TYPES or min(shape, default=1) < 0:
            raise DualsysError(
                f"the engine's {tensor!r} is {kind} {shape}; engines here have fixed shapes of "
                f"{', '.join(_TYPES.values())}; build it with `dualsys build`"
            )
        return TensorSpec(shape, _TYPES[kind])

    def _enqueue(self, stream: int) -> None:
        if not self._context.execute_async_v3(stream):
            raise DualsysError(f"TensorRT could not run the engine: {self._log.last}")


def tensorrt_library() -> Any:
    """The installed TensorRT. Raises `DualsysError` where there is none."""
    try:
        import tensorrt
    except ImportError as error:
        raise DualsysError(
            f"engine tensorrt needs the extra `tensorrt` ({error}); install dualsys[tensorrt], or "
            "the wheel of your driver's CUDA"
        ) from error
    return tensorrt


def error_log(library: Any) -> Any:
    """A logger that keeps the last error, which TensorRT does not put into what it raises."""

    class Log(library.ILogger):
        def __init__(self) -> None:
            super().__init__()
            self.last = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (library.ILogger.ERROR, library.ILogger.INTERNAL_ERROR):
                self.last = message.strip().splitlines()[0] if message.strip() else self.last

    return Log()
