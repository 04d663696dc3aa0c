"""System 1's pass in two parts, so that a tick may take as many flow steps as it has time for.

`ContextEncoder` reads the observation once; `FlowStep` is one Euler step. Together, with the
network's own number of steps, they are `Sampler`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dualsys.system1.encoder import pixels_of
from dualsys.system1.exits import Exit
from dualsys.system1.network import Context
from dualsys.system1.sampler import IMAGE, Sampler, sampler_inputs
from kernels.engine import TensorSpec


class Preprocessing(nn.Module):
    """The pictures as the encoder's convolutions take them; a part of `ContextEncoder`."""

    def forward(self, **images: Tensor) -> dict[str, Tensor]:
        """uint8 (1, H, W, C) each -> (1, C, H, W) from -1 to 1."""
        return {f"{name}_pixels": pixels_of(image, torch.float32) for name, image in images.items()}


class ContextEncoder(nn.Module):
    """`Sampler`'s inputs -> what the flow starts from and looks at."""

    def __init__(self, sampler: Sampler) -> None:
        super().__init__()
        self.sampler = sampler

    def forward(self, **given: Tensor) -> dict[str, Tensor]:
        """-> source (K, T, A), fixed (1, T), keys and values (L, H, C, D / H), scale, perceived.

        fixed is 1 where `source` holds committed actions; scale and perceived as of `Sampler`.
        """
        context = self.sampler.encode(given)
        source, fixed = self.sampler.start(given)
        if fixed is None:
            fixed = torch.zeros_like(source[:1, :, 0])
        return {
            "source": source,
            "fixed": fixed,
            "keys": torch.cat(context.keys),
            "values": torch.cat(context.values),
            "scale": context.log_scale.exp() * self.sampler.get_buffer("action_std"),
            "perceived": context.perceived,
        }


class FlowStep(nn.Module):
    """One Euler step of the flow, of any length, for K chunks over one context.

    With `early` it takes the first blocks alone.
    """

    def __init__(self, sampler: Sampler, early: Exit | None = None) -> None:
        super().__init__()
        self.sampler, self.early = sampler, early

    def forward(
        self, x: Tensor, fixed: Tensor, keys: Tensor, values: Tensor, tau: Tensor, size: Tensor
    ) -> dict[str, Tensor]:
        """From x (K, T, A) at tau (1,) to that at tau + size (1,), and as a chunk: physical."""
        network, none = self.sampler.network, x.new_zeros(0)
        layers = network.config.layers if self.early is None else self.early.layers
        # What no block looks at is not even copied.
        seen, read = (list(each[:layers].split(1)) for each in (keys, values))
        context, times = Context(seen, read, none, none, none), tau.expand(x.shape[0])
        velocity = network.velocity(x, times, context, fixed.expand(x.shape[:2]), self.early)
        moved = x + size * (1 - fixed)[..., None] * velocity
        std, mean = self.sampler.get_buffer("action_std"), self.sampler.get_buffer("action_mean")
        return {"moved": moved, "chunk": moved * std + mean}


def step_inputs(encoder_outputs: Mapping[str, TensorSpec]) -> dict[str, TensorSpec]:
    """Names, shapes and dtypes of `FlowStep`'s inputs behind such an encoder."""
    one = TensorSpec((1,), "float32")
    passed = {name: encoder_outputs[name] for name in ("fixed", "keys", "values")}
    return {"x": encoder_outputs["source"], **passed, "tau": one, "size": one}


def preprocessing_inputs(sampler: Sampler) -> dict[str, TensorSpec]:
    """Those of the sampler's inputs that are pictures."""
    inputs = sampler_inputs(sampler)
    return {name: spec for name, spec in inputs.items() if name.startswith(IMAGE)}


def parts(sampler: Sampler) -> tuple[ContextEncoder, dict[str, TensorSpec], FlowStep]:
    """Both modules, and the first one's inputs."""
    return ContextEncoder(sampler), sampler_inputs(sampler), FlowStep(sampler)
