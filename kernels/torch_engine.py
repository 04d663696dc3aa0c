"""The reference engine: a torch module run eagerly, on the processor or a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from kernels.engine import TensorSpec, check_inputs

if TYPE_CHECKING:
    from torch import nn


class TorchEngine:
    """Runs `module(**inputs) -> dict of tensors` in inference mode with static input buffers."""

    precision = "float32"

    def __init__(
        self,
        module: nn.Module,
        inputs: Mapping[str, TensorSpec],
        device: str = "cpu",
        name: str = "torch",
    ) -> None:
        import torch

        self.name = name

        self._torch = torch
        self._module = module.to(device).eval()
        self.inputs: Mapping[str, TensorSpec] = dict(inputs)
        self._buffers = {
            name: torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype), device=device)
            for name, spec in inputs.items()
        }
        zeros = {name: np.zeros(spec.shape, spec.dtype) for name, spec in inputs.items()}
        self.outputs: Mapping[str, TensorSpec] = {
            name: TensorSpec(tuple(array.shape), array.dtype.name)
            for name, array in self.run(zeros).items()
        }

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Copy the inputs in, run the module once, return its outputs as host arrays."""
        check_inputs(self.inputs, arrays)
        with self._torch.inference_mode():
            for name, buffer in self._buffers.items():
                # Received arrays are read-only views; torch.from_numpy would warn about them.
                buffer.copy_(self._torch.from_numpy(_writable(arrays[name])))
            outputs = self._module(**self._buffers)
            return {name: tensor.float().cpu().numpy() for name, tensor in outputs.items()}


def _writable(array: np.ndarray) -> np.ndarray:
    return array if array.flags.writeable else array.copy()
