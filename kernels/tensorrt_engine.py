"""Native TensorRT: engines built from ONNX, run as one CUDA graph without torch.

Written against what TensorRT 8.5 to 11 share; where they differ, what is installed is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dualsys.errors import DualsysError
from kernels import hardware
from kernels.cuda_run import CudaRun
from kernels.engine import Engine, TensorSpec, check_inputs
from kernels.half import PRODUCTS, halved
from kernels.recipe import require_precision

PRECISIONS = ("float32", "tf32", *PRODUCTS)
_TYPES = {"FLOAT": "float32", "HALF": "float16", "INT32": "int32", "INT64": "int64",
          "UINT8": "uint8", "INT8": "int8", "BOOL": "bool"}  # fmt: skip


class TensorrtEngine:
    """A deserialised engine with fixed shapes; outputs are views of its pinned buffers."""

    def __init__(self, content: bytes, name: str, precision: str) -> None:
        library = _library()
        self.name, self.precision = name, precision
        self._log = _log(library)
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


class TensorrtRecipe:
    """Built by TensorRT's own builder for the GPU at hand; takes minutes."""

    quick = False

    def __init__(self, name: str, precision: str) -> None:
        require_precision(name, precision, PRECISIONS)
        self.name, self.precision = name, precision

    def flags(self, threads: int) -> dict[str, str]:
        """TF32 or not, and whether the types stand in the graph."""
        typed = "strongly" if _strongly_typed(_library()) is not None else "weakly"
        return {"tf32": str(self.precision == "tf32"), "typed": typed}

    def software(self) -> dict[str, str]:
        """TensorRT's version."""
        return {"tensorrt": str(_library().__version__)}

    def hardware(self) -> dict[str, str]:
        """The GPU and its driver."""
        return hardware.gpu()

    def build(self, graph: bytes, threads: int) -> bytes:
        """The serialised engine. Raises `DualsysError` with the reason that TensorRT logged."""
        library = _library()
        if self.precision in PRODUCTS:
            graph = halved(graph, self.precision)
        log = _log(library)
        builder = _builder(library, log)
        network = builder.create_network(_creation_flags(library))
        parser = library.OnnxParser(network, log)
        if not parser.parse(graph):
            errors = "; ".join(str(parser.get_error(k)) for k in range(parser.num_errors))
            raise DualsysError(
                f"TensorRT {library.__version__} can not read the graph: {errors}; choose "
                "onnxruntime-cuda or torch-cuda-graph"
            )
        config = builder.create_builder_config()
        self._configure(library, config, network)
        content = builder.build_serialized_network(network, config)
        if content is None:
            raise DualsysError(f"TensorRT built no engine: {log.last or 'it gave no reason'}")
        return bytes(content)

    def _configure(self, library: Any, config: Any, network: Any) -> None:
        flag = library.BuilderFlag
        if self.precision == "tf32":
            config.set_flag(flag.TF32)
        else:
            config.clear_flag(flag.TF32)
        if self.precision not in PRODUCTS or _strongly_typed(library) is not None:
            return
        # Before strong typing the graph's casts are hints: types are pinned layer by layer.
        wanted = {"float16": "FP16", "bfloat16": "BF16"}[self.precision]
        if not hasattr(flag, wanted):
            raise DualsysError(
                f"TensorRT {library.__version__} does not compute in {self.precision}; choose "
                "tensorrt-fp16 or tensorrt"
            )
        config.set_flag(getattr(flag, wanted))
        config.set_flag(flag.OBEY_PRECISION_CONSTRAINTS)
        for layer in (network.get_layer(k) for k in range(network.num_layers)):
            kinds = {layer.get_output(k).dtype for k in range(layer.num_outputs)}
            if kinds == {library.float32} and layer.type != library.LayerType.SHAPE:
                layer.precision = library.float32

    def open(self, content: bytes, threads: int) -> Engine:
        """The engine, its buffers and its captured graph."""
        return TensorrtEngine(content, self.name, self.precision)


def _library() -> Any:
    try:
        import tensorrt
    except ImportError as error:
        raise DualsysError(
            f"engine tensorrt needs the extra `tensorrt` ({error}); install dualsys[tensorrt], or "
            "the wheel of your driver's CUDA"
        ) from error
    return tensorrt


def _builder(library: Any, log: Any) -> Any:
    try:
        return library.Builder(log)
    except TypeError as error:  # "pybind11::init(): factory function returned nullptr"
        raise DualsysError(
            f"TensorRT {library.__version__} finds no usable GPU ({log.last or error}); see "
            "nvidia-smi, or choose an engine for processors"
        ) from error


def _strongly_typed(library: Any) -> int | None:
    """The creation flag of strong typing (10 and later; 11 knows nothing else), or None."""
    flag = getattr(library.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return None if flag is None else 1 << int(flag)


def _creation_flags(library: Any) -> int:
    typed = _strongly_typed(library)
    if typed is not None:
        return typed
    return 1 << int(library.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)


def _log(library: Any) -> Any:
    """A logger that keeps the last error, which TensorRT does not put into what it raises."""

    class Log(library.ILogger):
        def __init__(self) -> None:
            super().__init__()
            self.last = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (library.ILogger.ERROR, library.ILogger.INTERNAL_ERROR):
                self.last = message.strip().splitlines()[0] if message.strip() else self.last

    return Log()
