"""System 1's network: images, proprioception and guidance -> context -> flow-matching action chunk.

The context is encoded once per observation; the flow head cross-attends to it at every Euler step
(cached context). Source of the flow is Gaussian noise, or a candidate chunk of System 2 (cascaded
denoising as in Hume, arXiv 2505.21432): x_tau = (1 - tau) source + tau expert, velocity =
expert - source. All shapes are fixed by `NetworkConfig`. Actions inside are normalised.

The first actions of a chunk may be committed already (they are carried out while the pass runs):
they stand at tau = 1 from the start, and the rest of the chunk is flown to fit them, as training
showed it (real-time chunking, arXiv 2506.07339; conditioned in training instead of guided).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import msgspec
import torch
from torch import Tensor, nn

from dualsys.flow import Block, integrate, keys_values, time_embedding
from dualsys.system1.encoder import ImageEncoder
from dualsys.system1.exits import Exit


class NetworkConfig(msgspec.Struct, frozen=True):
    """Sizes of the network; cameras are (name, height, width, channels)."""

    cameras: tuple[tuple[str, int, int, int], ...]
    state_size: int
    action_size: int
    plans: int
    perceived_size: int  # auxiliary scene values regressed from the image, fed back as a token
    horizon: int = 16
    width: int = 128
    layers: int = 3
    heads: int = 4
    plan_vector_size: int = 8
    keypoints: int = 32
    token_grid: int = 4
    flow_steps: int = 4
    commit_ticks: int = 0  # longest committed beginning of a chunk that training shows


class Guided(msgspec.Struct):
    """Guidance as tensors, batch first; absent guidance is a zero row with `present` 0.

    plan: float (B, P) one-hot; z: float (B, Z); phase: float (B, 3) = plan age [s] of each of plan
    and candidate, and whether the flow's source is a candidate.
    """

    plan: Tensor
    z: Tensor
    phase: Tensor


class Context(msgspec.Struct):
    """The encoded observation: keys and values per block, Laplace parameters, perceived scene."""

    keys: list[Tensor]  # per block (B, heads, L, D / heads)
    values: list[Tensor]
    mean: Tensor  # (B, T, A), the Laplace head's location
    log_scale: Tensor  # (B, T, A), log of the Laplace scale b
    perceived: Tensor  # (B, perceived_size)


class System1Network(nn.Module):
    """The whole policy network; `sample` runs it, `velocity` is what training fits."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.encoders = nn.ModuleList(
            ImageEncoder(h, w, c, width, config.keypoints, config.token_grid)
            for _, h, w, c in config.cameras
        )
        seen = len(config.cameras) * config.keypoints * 2
        known = seen + config.state_size + config.plans
        self.perceive = nn.Sequential(
            nn.Linear(known, 2 * width), nn.GELU(), nn.Linear(2 * width, config.perceived_size)
        )
        self.token_inputs = nn.ModuleDict(
            {
                "keypoints": nn.Linear(seen, width),
                "state": nn.Linear(config.state_size, width),
                "perceived": nn.Linear(config.perceived_size + config.state_size, width),
                "plan": nn.Linear(config.plans, width),
                "z": nn.Linear(config.plan_vector_size, width),
                "phase": nn.Linear(3, width),
            }
        )
        images = len(config.cameras) * config.token_grid**2
        self.place = nn.Parameter(0.02 * torch.randn(images + len(self.token_inputs), width))
        self.context_norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.layers))
        self.context_kv = nn.ModuleList(nn.Linear(width, 2 * width) for _ in self.blocks)
        self.laplace_kv = nn.Linear(width, 2 * width)
        self.laplace_block = Block(width, config.heads)
        self.laplace_query = nn.Parameter(0.02 * torch.randn(config.horizon, width))
        self.laplace_out = nn.Linear(width, 2 * config.action_size)
        self.action_in = nn.Linear(config.action_size, width)
        self.action_place = nn.Parameter(0.02 * torch.randn(config.horizon, width))
        self.time_in = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.action_norm = nn.LayerNorm(width)
        self.action_out = nn.Linear(width, config.action_size)
        nn.init.zeros_(self.action_out.weight)
        nn.init.zeros_(self.action_out.bias)

    def encode(self, images: list[Tensor], state: Tensor, guided: Guided) -> Context:
        """Encode images (B, H, W, C) uint8, one per camera, state (B, S) normalised, guidance."""
        keypoints, tokens = [], []
        for encoder, image in zip(self.encoders, images, strict=True):
            points, grid = encoder(image)
            keypoints.append(points)
            tokens.append(grid)
        seen = torch.cat(keypoints, -1)
        with torch.autocast(seen.device.type, enabled=False):
            perceived = self.perceive(torch.cat([seen, state, guided.plan], -1))
        inputs = {
            "keypoints": seen,
            "state": state,
            "perceived": torch.cat([perceived, state], -1),
            "plan": guided.plan,
            "z": guided.z,
            "phase": guided.phase,
        }
        tokens += [layer(inputs[name])[:, None] for name, layer in self.token_inputs.items()]
        context = self.context_norm(torch.cat(tokens, 1) + self.place)
        keys, values = [], []
        for layer in self.context_kv:
            key, value = keys_values(layer(context), self.config.heads)
            keys.append(key)
            values.append(value)
        mean, log_scale = self._laplace(context)
        return Context(keys, values, mean, log_scale, perceived)

    def _laplace(self, context: Tensor) -> tuple[Tensor, Tensor]:
        key, value = keys_values(self.laplace_kv(context), self.config.heads)
        query = self.laplace_query.expand(context.shape[0], -1, -1)
        still = torch.zeros_like(query[:, :1])
        out = self.laplace_out(self.laplace_block(query, key, value, still))
        mean, log_scale = out.chunk(2, -1)
        return mean, log_scale.clamp(-7.0, 3.0)

    def velocity(
        self,
        x: Tensor,
        tau: Tensor,
        context: Context,
        committed: Tensor | None = None,
        early: Exit | None = None,
    ) -> Tensor:
        """Velocity of the flow at x (B, T, A) and time tau (B,) in [0, 1] -> (B, T, A).

        committed (B, T): 1 where x is a committed action, which stands at tau = 1. `early` says it
        from its first blocks alone.
        """
        behind = self.behind_blocks(x, tau, context, committed)
        if early is not None:
            foretold: Tensor = early(next(islice(behind, early.layers - 1, None)))
            return foretold
        *_, hidden = behind
        out: Tensor = self.action_out(self.action_norm(hidden))
        return out

    def behind_blocks(
        self, x: Tensor, tau: Tensor, context: Context, committed: Tensor | None = None
    ) -> Iterator[Tensor]:
        """What stands behind the flow's blocks, one after the other (B, T, D); as `velocity`.

        A block that is not asked for is not run.
        """
        times, second = tau[:, None], None
        if committed is not None:
            times = torch.stack([tau, torch.ones_like(tau)], 1)
            second = committed > 0
        time = self.time_in(time_embedding(times, self.config.width))
        hidden = self.action_in(x) + self.action_place
        for block, key, value in zip(self.blocks, context.keys, context.values, strict=False):
            hidden = block(hidden, key, value, time, second)
            yield hidden

    def flow(
        self, source: Tensor, context: Context, steps: int, committed: Tensor | None = None
    ) -> Tensor:
        """Integrate the velocity from `source` (B, T, A) over tau in [0, 1] with Euler steps.

        Where committed (B, T) is 1, `source` holds committed actions, and they stay.
        """
        if committed is None:
            return integrate(lambda x, tau: self.velocity(x, tau, context), source, steps)[-1]
        free = (1 - committed)[..., None]
        return integrate(
            lambda x, tau: free * self.velocity(x, tau, context, committed), source, steps
        )[-1]
