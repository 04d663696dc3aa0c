"""Work on a GPU between copies, captured once as a CUDA graph over buffers that never move.

Speaks to the driver alone (`cuda-bindings`), so that a deployment needs no torch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dualsys.errors import DualsysError
from kernels.engine import TensorSpec

Enqueue = Callable[[int], None]
"""Puts the work on a stream, given by its handle."""


class CudaRun:
    """Pinned host buffers, device buffers and one stream for named arrays.

    A launch allocates nothing and waits once, at its end. Raises `DualsysError` without a GPU and
    when its memory is used up.
    """

    def __init__(self, inputs: Mapping[str, TensorSpec], outputs: Mapping[str, TensorSpec]) -> None:
        self._driver = _bindings()
        self._call(self._driver.cuInit(0))
        device = self._call(self._driver.cuDeviceGet(0))
        context = self._call(self._driver.cuDevicePrimaryCtxRetain(device))
        self._call(self._driver.cuCtxSetCurrent(context))
        self._stream = self._call(self._driver.cuStreamCreate(1))
        self._inputs, self._outputs = dict(inputs), dict(outputs)
        self.host: dict[str, np.ndarray] = {}
        self.device: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._handles: dict[str, int] = {}
        for name, spec in {**self._inputs, **self._outputs}.items():
            self._place(name, spec)
        self._graph: Any = None

    def _place(self, name: str, spec: TensorSpec) -> None:
        size = max(1, int(np.prod(spec.shape))) * np.dtype(spec.dtype).itemsize
        self.device[name] = int(self._call(self._driver.cuMemAlloc(size)))
        self._handles[name] = handle = int(self._call(self._driver.cuMemAllocHost(size)))
        memory: Any = (ctypes.c_uint8 * size).from_address(handle)
        self.host[name] = np.ndarray(spec.shape, spec.dtype, memory)
        self.host[name][...] = 0
        self._sizes[name] = size

    def capture(self, enqueue: Enqueue, warm_up: int = 3) -> None:
        """Capture copies in, the work and copies out; the work runs before, to take its memory."""
        handle = int(self._stream)
        self._copies_in()
        for _ in range(warm_up):
            enqueue(handle)
        self.wait()
        mode = self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_GLOBAL
        self._call(self._driver.cuStreamBeginCapture(self._stream, mode))
        self._copies_in()
        enqueue(handle)
        self._copies_out()
        graph = self._call(self._driver.cuStreamEndCapture(self._stream))
        self._graph = self._call(self._driver.cuGraphInstantiate(graph, 0))

    def launch(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Copy the arrays to the pinned buffers, run the graph, wait for it."""
        for name in self._inputs:
            np.copyto(self.host[name], arrays[name])
        self._call(self._driver.cuGraphLaunch(self._graph, self._stream))
        self.wait()

    def wait(self) -> None:
        """Until all work of the stream is done."""
        self._call(self._driver.cuStreamSynchronize(self._stream))

    def stages_ms(self, enqueue: Enqueue) -> dict[str, float]:
        """Times of copies in, work and copies out by the device's events, outside the graph."""
        marks = [self._call(self._driver.cuEventCreate(0)) for _ in range(4)]
        steps: list[Callable[[], None]] = [
            self._copies_in,
            lambda: enqueue(int(self._stream)),
            self._copies_out,
        ]
        self._call(self._driver.cuEventRecord(marks[0], self._stream))
        for step, mark in zip(steps, marks[1:], strict=True):
            step()
            self._call(self._driver.cuEventRecord(mark, self._stream))
        self.wait()
        names = ("copy_in", "network", "copy_out")
        found = {
            name: float(self._call(self._driver.cuEventElapsedTime(marks[k], marks[k + 1])))
            for k, name in enumerate(names)
        }
        for mark in marks:
            self._call(self._driver.cuEventDestroy(mark))
        return found

    def _copies_in(self) -> None:
        for name in self._inputs:
            where = self.device[name], self._handles[name], self._sizes[name]
            self._call(self._driver.cuMemcpyHtoDAsync(*where, self._stream))

    def _copies_out(self) -> None:
        for name in self._outputs:
            where = self._handles[name], self.device[name], self._sizes[name]
            self._call(self._driver.cuMemcpyDtoHAsync(*where, self._stream))

    def _call(self, answer: tuple[Any, ...]) -> Any:
        error, *found = answer
        if int(error):
            name = getattr(error, "name", str(error))
            remedy = (
                "free the GPU's memory (nvidia-smi shows who holds it)"
                if name == "CUDA_ERROR_OUT_OF_MEMORY"
                else "see nvidia-smi, or choose an engine for processors"
            )
            raise DualsysError(f"the GPU refused: {name}; {remedy}")
        return found[0] if found else None


def _bindings() -> Any:
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise DualsysError(
            f"engines of TensorRT need the extra `tensorrt` ({error}); install dualsys[tensorrt]"
        ) from error
    return driver
