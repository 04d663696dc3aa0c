"""One System-1 pass as a single module with named, fixed-shape inputs: what engines compile.

Normalisation lives inside, so the border speaks physical units: an engine needs no side tables.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dualsys.system1.network import Context, Guided, System1Network
from kernels.engine import TensorSpec
from kernels.fused.flow import FusedFlow

IMAGE = "image_"  # prefix of the image inputs: image_<camera>


class Sampler(nn.Module):
    """Observation and guidance -> action chunk, Laplace scale and spread of the samples.

    The flow starts from `noise`, or, where `use_candidate` is 1, from the normalised candidate
    with `CANDIDATE_NOISE` of it mixed in (the mixture that training saw). The first
    `committed_ticks` actions are `committed` ones, where the network knows committed beginnings.
    `samples` flows start from so many noises over one encoding; the first one is the chunk.
    """

    precision = "float32"  # of the flow loop, a key of `kernels.parity.TOLERANCES`

    def __init__(
        self, network: System1Network, normalisation: dict[str, Tensor], samples: int = 1
    ) -> None:
        super().__init__()
        self.network, self.samples = network, samples
        for name, value in normalisation.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, **given: Tensor) -> dict[str, Tensor]:
        """Shapes as `sampler_inputs` lists them -> chunk, scale (1, T, A), perceived (1, X).

        With several samples also samples (K, T, A), the chunk first, and spread (1, 1): their mean
        standard deviation per action, in units of the data's.
        """
        context = self.encode(given)
        mean, std = self.get_buffer("action_mean"), self.get_buffer("action_std")
        chunks = self._flow(*self.start(given), context)
        found = {
            "chunk": chunks[:1] * std + mean,
            "scale": context.log_scale.exp() * std,
            "perceived": context.perceived,
        }
        if self.samples > 1:
            found["samples"] = chunks * std + mean
            found["spread"] = chunks.std(0).mean().view(1, 1)
        return found

    def encode(self, given: Mapping[str, Tensor]) -> Context:
        """What the flow looks at."""
        network = self.network
        images = [given[IMAGE + camera[0]] for camera in network.config.cameras]
        state = (given["state"] - self.get_buffer("state_mean")) / self.get_buffer("state_std")
        return network.encode(images, state, Guided(given["plan"], given["z"], given["phase"]))

    def start(self, given: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """What the flow starts from (K, T, A), normalised, and where it is committed (1, T)."""
        config = self.network.config
        mean, std = self.get_buffer("action_mean"), self.get_buffer("action_std")
        noise = given["noise"]
        proposed = (given["candidate"] - mean) / std + CANDIDATE_NOISE * noise
        source = torch.where(given["use_candidate"][:, :, None] > 0, proposed, noise)
        if not config.commit_ticks:
            return source, None
        known = (given["committed"] - mean) / std
        known = nn.functional.pad(known, (0, 0, 0, config.horizon - config.commit_ticks))
        places = torch.arange(config.horizon, device=source.device)
        fixed = (places < given["committed_ticks"]).to(source.dtype)
        return torch.where(fixed[..., None] > 0, known, source), fixed

    def _flow(self, source: Tensor, committed: Tensor | None, context: Context) -> Tensor:
        network = self.network
        return network.flow(source, context, network.config.flow_steps, committed)

    def fused(self) -> Sampler:
        """The same with the whole flow loop as one kernel in half precision."""
        return FusedSampler(self)


class FusedSampler(Sampler):
    """A sampler whose flow loop is one kernel (`kernels.fused`), for a GPU."""

    precision = "float16"

    def __init__(self, sampler: Sampler) -> None:
        normalisation = dict(sampler.named_buffers(recurse=False))
        super().__init__(sampler.network, normalisation, sampler.samples)
        self.loop = FusedFlow(sampler.network)

    def _flow(self, source: Tensor, committed: Tensor | None, context: Context) -> Tensor:
        chunks: Tensor = self.loop(source, context, committed)
        return chunks


CANDIDATE_NOISE = 0.1
"""Standard deviation of the noise on a candidate source, in normalised action units."""


def sampler_inputs(sampler: Sampler) -> dict[str, TensorSpec]:
    """Names, shapes and dtypes of the inputs of `Sampler.forward` at batch 1."""
    c = sampler.network.config
    inputs = {
        IMAGE + name: TensorSpec((1, height, width, channels), "uint8")
        for name, height, width, channels in c.cameras
    }
    chunk = TensorSpec((1, c.horizon, c.action_size), "float32")
    inputs |= {
        "state": TensorSpec((1, c.state_size), "float32"),
        "plan": TensorSpec((1, c.plans), "float32"),
        "z": TensorSpec((1, c.plan_vector_size), "float32"),
        "phase": TensorSpec((1, 3), "float32"),
        "candidate": chunk,
        "use_candidate": TensorSpec((1, 1), "float32"),
        "noise": TensorSpec((sampler.samples, c.horizon, c.action_size), "float32"),
    }
    if c.commit_ticks:
        inputs["committed"] = TensorSpec((1, c.commit_ticks, c.action_size), "float32")
        inputs["committed_ticks"] = TensorSpec((1, 1), "float32")
    return inputs
