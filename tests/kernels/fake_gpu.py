"""A driver and a TensorRT without a GPU: device memory is host memory, a graph a list of calls.

What they check is our part: which buffer goes where, in which order, what is said when it fails.
"""

from __future__ import annotations

import ctypes
import types
from collections.abc import Callable
from typing import Any

import numpy as np


class Code(int):
    """An error code with a name, as the bindings' enumerations are."""

    name = "CUDA_ERROR_OUT_OF_MEMORY"


class FakeDriver:
    """The calls of `cuda.bindings.driver` that are used; (code, *values) each."""

    class CUstreamCaptureMode:
        CU_STREAM_CAPTURE_MODE_GLOBAL = 0

    def __init__(self, memory_bytes: int = 1 << 20) -> None:
        self.left, self.kept, self.captured = memory_bytes, list[Any](), list[Any]() or None
        self.calls: list[str] = []

    def _do(self, name: str, work: Callable[[], object]) -> tuple[int]:
        self.calls.append(name)
        if self.captured is None:
            work()
        else:
            self.captured.append((name, work))
        return (0,)

    def _memory(self, size: int) -> tuple[Any, ...]:
        if size > self.left:
            return (Code(2), None)
        self.left -= size
        block = (ctypes.c_uint8 * size)()
        self.kept.append(block)
        return (0, ctypes.addressof(block))

    cuMemAlloc = cuMemAllocHost = _memory  # noqa: N815

    def cuMemcpyHtoDAsync(self, to: int, source: int, size: int, stream: int) -> tuple[int]:  # noqa: N802
        return self._do("in", lambda: ctypes.memmove(to, source, size))

    def cuMemcpyDtoHAsync(self, to: int, source: int, size: int, stream: int) -> tuple[int]:  # noqa: N802
        return self._do("out", lambda: ctypes.memmove(to, source, size))

    def cuStreamBeginCapture(self, stream: int, mode: int) -> tuple[int]:  # noqa: N802
        self.captured = []
        return (0,)

    def cuStreamEndCapture(self, stream: int) -> tuple[Any, ...]:  # noqa: N802
        graph, self.captured = self.captured, None
        return (0, graph)

    def cuGraphInstantiate(self, graph: Any, flags: int) -> tuple[Any, ...]:  # noqa: N802
        return (0, graph)

    def cuGraphLaunch(self, graph: Any, stream: int) -> tuple[int]:  # noqa: N802
        for name, work in graph:
            self.calls.append(f"graph {name}")
            work()
        return (0,)

    def cuEventElapsedTime(self, begin: Any, end: Any) -> tuple[Any, ...]:  # noqa: N802
        return (0, 0.25)

    def __getattr__(self, name: str) -> Callable[..., tuple[Any, ...]]:
        if not name.startswith("cu"):
            raise AttributeError(name)
        return lambda *arguments: (0, 7)


class FakeTensorrt(types.ModuleType):
    """A library whose engines double `state` into `sum`, for a driver of the kind above."""

    __version__ = "10.9"

    def __init__(self, driver: FakeDriver, **wrong: Any) -> None:
        super().__init__("tensorrt")
        self.driver, self.wrong, self.recalled = driver, wrong, list[bytes]()

    class ILogger:
        ERROR, INTERNAL_ERROR, WARNING = "error", "internal", "warning"

    class TensorIOMode:
        INPUT, OUTPUT = "input", "output"

    class BuilderFlag:
        TF32 = "TF32"

    class NetworkDefinitionCreationFlag:
        STRONGLY_TYPED = 2

    def Runtime(self, log: Any) -> Any:  # noqa: N802
        def deserialize(content: bytes) -> Any:
            if content != b"plan":
                log.log("error", "magic tag does not match\nmore")
                return None
            return _Engine(self)

        return types.SimpleNamespace(deserialize_cuda_engine=deserialize)

    def Builder(self, log: Any) -> Any:  # noqa: N802
        if "no_gpu" in self.wrong:
            log.log("error", "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return _Builder(self, log)

    def OnnxParser(self, network: Any, log: Any) -> Any:  # noqa: N802
        error = self.wrong.get("unsupported")
        return types.SimpleNamespace(
            parse=lambda graph: error is None,
            num_errors=1 if error else 0,
            get_error=lambda number: error,
        )


class _Builder:
    def __init__(self, library: FakeTensorrt, log: Any) -> None:
        self.library, self.log = library, log

    def create_network(self, flags: int) -> Any:
        self.library.flags = flags
        shape = (-1, 3) if "open_shape" in self.library.wrong else (1, 3)
        state = types.SimpleNamespace(name="state", shape=shape)
        return types.SimpleNamespace(num_inputs=1, get_input=[state].__getitem__)

    def create_optimization_profile(self) -> Any:
        self.library.profile = {}

        def set_shape(name: str, *shapes: tuple[int, ...]) -> None:
            self.library.profile[name] = shapes

        return types.SimpleNamespace(set_shape=set_shape)

    def create_builder_config(self) -> Any:
        self.library.set = set[str]()
        return _Config(self.library)

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        if "no_tactic" in self.library.wrong:
            self.log.log("error", "no implementation obeys the constraints")
            return None
        return b"plan"


class _Config:
    """Flags, profiles and timings of one build; it times one kernel."""

    def __init__(self, library: FakeTensorrt) -> None:
        self.library = library
        self.set_flag, self.clear_flag = library.set.add, library.set.discard
        self.timed = 0

    def add_optimization_profile(self, profile: Any) -> int:
        return 0

    def create_timing_cache(self, kept: bytes) -> bytes | None:
        self.library.recalled.append(kept)
        return kept if "damaged_timings" not in self.library.wrong or not kept else None

    def set_timing_cache(self, timings: bytes, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if timings and "foreign_timings" in self.library.wrong:
            return False
        self.timed = int(timings[8:] or 0) + 1
        return True

    def get_timing_cache(self) -> Any:
        return types.SimpleNamespace(serialize=lambda: b"timings %d" % self.timed)


class _Engine:
    num_io_tensors = 2

    def __init__(self, library: FakeTensorrt) -> None:
        self.library = library
        self.addresses: dict[str, int] = {}

    def get_tensor_name(self, number: int) -> str:
        return ("state", "sum")[number]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name == "state" else "output"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, 3) if "dynamic" in self.library.wrong else (1, 3)

    def get_tensor_dtype(self, name: str) -> Any:
        return types.SimpleNamespace(name="FLOAT")

    def create_execution_context(self) -> Any:
        if "no_memory" in self.library.wrong:
            return None
        return types.SimpleNamespace(
            set_tensor_address=self.addresses.__setitem__, execute_async_v3=self._execute
        )

    def _execute(self, stream: int) -> bool:
        def work() -> None:
            views = {
                name: np.ctypeslib.as_array((ctypes.c_float * 3).from_address(address))
                for name, address in self.addresses.items()
            }
            views["sum"][:] = 2 * views["state"]

        self.library.driver._do("network", work)
        return "stuck" not in self.library.wrong
