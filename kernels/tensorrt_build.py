"""How engines of TensorRT are built from ONNX, for the GPU at hand.

Written against what TensorRT 8.5 to 11 share; where they differ, what is installed is asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from dualsys.environment import cache_folder
from dualsys.errors import DualsysError
from kernels import hardware
from kernels.cache import write_whole
from kernels.engine import Engine
from kernels.half import PRODUCTS, halved
from kernels.manifest import digest
from kernels.recipe import require_precision
from kernels.tensorrt_engine import TensorrtEngine, error_log, tensorrt_library

PRECISIONS = ("float32", "tf32", *PRODUCTS)


class TensorrtRecipe:
    """Built by TensorRT's own builder for the GPU at hand; takes minutes."""

    quick = False

    def __init__(self, name: str, precision: str) -> None:
        require_precision(name, precision, PRECISIONS)
        self.name, self.precision = name, precision

    def flags(self, threads: int) -> dict[str, str]:
        """TF32 or not, and whether the types stand in the graph."""
        typed = "strongly" if _strongly_typed(tensorrt_library()) is not None else "weakly"
        return {"tf32": str(self.precision == "tf32"), "typed": typed}

    def software(self) -> dict[str, str]:
        """TensorRT's version."""
        return {"tensorrt": str(tensorrt_library().__version__)}

    def hardware(self) -> dict[str, str]:
        """The GPU and its driver."""
        return hardware.gpu()

    def build(self, graph: bytes, threads: int) -> bytes:
        """The serialised engine. Raises `DualsysError` with the reason that TensorRT logged."""
        library = tensorrt_library()
        if self.precision in PRODUCTS:
            graph = halved(graph, self.precision)
        log = error_log(library)
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
        config.add_optimization_profile(_profile(builder, network))
        self._configure(library, config, network)
        timings = self._timings()
        _recall(config, timings)
        content = builder.build_serialized_network(network, config)
        if content is None:
            raise DualsysError(f"TensorRT built no engine: {log.last or 'it gave no reason'}")
        timings.parent.mkdir(parents=True, exist_ok=True)
        write_whole(timings, bytes(config.get_timing_cache().serialize()))
        return bytes(content)

    def _timings(self) -> Path:
        """How long each kernel took when engines were built here before, for any network."""
        here = {**self.software(), **self.hardware()}
        key = digest(msgspec.json.encode(here, order="sorted"))
        return cache_folder() / "engines" / f"tensorrt-{key}.timings"

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


def _profile(builder: Any, network: Any) -> Any:
    """The one profile: every input has the shape that stands in the graph, and no other."""
    profile = builder.create_optimization_profile()
    for tensor in (network.get_input(k) for k in range(network.num_inputs)):
        shape = tuple(tensor.shape)
        if min(shape, default=1) < 0:
            raise DualsysError(
                f"the graph leaves the shape of its input {tensor.name!r} open, {shape}; engines "
                "here have fixed shapes: export it with them"
            )
        profile.set_shape(tensor.name, shape, shape, shape)
    return profile


def _recall(config: Any, timings: Path) -> None:
    """Go on from kept timings; what TensorRT can not read, or is not of here, it measures anew."""
    kept = timings.read_bytes() if timings.is_file() else b""
    found = config.create_timing_cache(kept)
    if found is None or not config.set_timing_cache(found, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


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
