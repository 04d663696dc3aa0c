"""A torch module captured once as a CUDA graph: copies in, network and copies out in one launch."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dualsys.errors import DualsysError
from kernels.engine import TensorSpec, check_inputs

if TYPE_CHECKING:
    from torch import nn

WARM_UPS = 3  # libraries choose their algorithms and take their memory before the capture


def captured(work: Callable[[], Any], times: int = 1) -> Callable[[], Any]:
    """Work on a GPU, `times` in a row, as one CUDA graph; it answers what the capture answered."""
    import torch

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            work()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        answers = [work() for _ in range(times)]

    def replay() -> Any:
        graph.replay()
        return answers[-1]

    return replay


class CudaGraphEngine:
    """Replays `module(**inputs) -> dict of tensors` on a GPU, through pinned buffers of its own.

    A run allocates nothing and waits once, at its end. Raises `DualsysError` without a GPU.
    """

    def __init__(
        self, module: nn.Module, inputs: Mapping[str, TensorSpec], name: str = "torch-cuda-graph"
    ) -> None:
        import torch

        if not torch.cuda.is_available():
            raise DualsysError(
                f"engine {name} needs a GPU that torch sees, there is none (torch "
                f"{torch.__version__}); install a CUDA build and its driver, or choose another"
            )
        self.name, self.precision = name, getattr(module, "precision", "float32")
        self.inputs: Mapping[str, TensorSpec] = dict(inputs)
        host = {
            n: torch.zeros(s.shape, dtype=getattr(torch, s.dtype), pin_memory=True)
            for n, s in inputs.items()
        }
        device = {n: tensor.cuda() for n, tensor in host.items()}
        module = copy.deepcopy(module).cuda().eval()  # the reference stays where it is
        self._stream = torch.cuda.Stream()
        self._graph = torch.cuda.CUDAGraph()
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            for _ in range(WARM_UPS):
                outputs = module(**device)
            back = {
                n: torch.zeros(t.shape, dtype=torch.float32, pin_memory=True)
                for n, t in outputs.items()
            }
            self._stream.synchronize()
            with torch.cuda.graph(self._graph, stream=self._stream):
                for n, tensor in device.items():
                    tensor.copy_(host[n], non_blocking=True)
                for n, tensor in module(**device).items():
                    back[n].copy_(tensor, non_blocking=True)
        self._kept = (module, host, device, back)  # the graph reads and writes their memory
        self._in = {n: tensor.numpy() for n, tensor in host.items()}
        self._out = {n: tensor.numpy() for n, tensor in back.items()}
        self.outputs: Mapping[str, TensorSpec] = {
            n: TensorSpec(array.shape, array.dtype.name) for n, array in self._out.items()
        }
        self._torch = torch

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Copy the arrays in, replay the graph, wait for it; the outputs are views of buffers."""
        check_inputs(self.inputs, arrays)
        for name, buffer in self._in.items():
            np.copyto(buffer, arrays[name])
        with self._torch.cuda.stream(self._stream):
            self._graph.replay()
        self._stream.synchronize()
        return dict(self._out)

    def stages_ms(self) -> dict[str, float]:
        """Times of copies in, network (a graph of its own) and copies out, by device events."""
        torch = self._torch
        module, host, device, back = self._kept
        with torch.inference_mode():
            network = captured(lambda: module(**device))
        outputs = network()
        works: dict[str, Callable[[], Any]] = {
            "copy_in": lambda: [t.copy_(host[n], non_blocking=True) for n, t in device.items()],
            "network": network,
            "copy_out": lambda: [t.copy_(outputs[n], non_blocking=True) for n, t in back.items()],
        }
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(len(works) + 1)]
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            marks[0].record()
            for work, mark in zip(works.values(), marks[1:], strict=True):
                work()
                mark.record()
        self._stream.synchronize()
        spans = (a.elapsed_time(b) for a, b in itertools.pairwise(marks))
        return dict(zip(works, spans, strict=True))
