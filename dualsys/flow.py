"""What the flow-matching heads of both systems are made of: block, flow time, Euler integration.

Flow matching (arXiv 2210.02747): x_tau = (1 - tau) source + tau target, velocity = target - source.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Pre-norm self-attention, cross-attention to the context and MLP, modulated by flow time."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(3))
        self.modulate = nn.Linear(width, 6 * width)
        self.self_qkv = nn.Linear(width, 3 * width)
        self.self_out = nn.Linear(width, width)
        self.cross_q = nn.Linear(width, width)
        self.cross_out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 3 * width), nn.GELU(approximate="tanh"), nn.Linear(3 * width, width)
        )

    def forward(
        self, x: Tensor, key: Tensor, value: Tensor, time: Tensor, second: Tensor | None = None
    ) -> Tensor:
        """X (B, T, D), key and value (B, heads, L, D / heads), time (B, 1, D) -> (B, T, D).

        With two times (B, 2, D), `second` bool (B, T) says for which tokens the second one holds.
        """
        modulated = self.modulate(time)
        if second is not None:
            # Two rows pass the wide layer instead of T: at inference they are constants of a step.
            modulated = torch.where(second[..., None], modulated[:, 1:], modulated[:, :1])
        scales = modulated.chunk(6, dim=-1)
        q, k, v = (self._split(t) for t in self.self_qkv(self._norm(0, x, scales)).chunk(3, -1))
        x = x + self.self_out(self._attend(q, k, v))
        q = self._split(self.cross_q(self._norm(1, x, scales)))
        x = x + self.cross_out(self._attend(q, key, value))
        out: Tensor = x + self.mlp(self._norm(2, x, scales))
        return out

    def _norm(self, index: int, x: Tensor, scales: tuple[Tensor, ...]) -> Tensor:
        normed: Tensor = self.norms[index](x)
        return normed * (1 + scales[2 * index]) + scales[2 * index + 1]

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        # Written out: for these few tokens the fused kernel's backward is slower on a processor.
        weights = ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(-1)
        return (weights.to(v.dtype) @ v).transpose(1, 2).flatten(2)


def keys_values(projected: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Keys and values, each (B, heads, L, D / heads), from their joint projection (B, L, 2 D)."""
    key, value = projected.chunk(2, -1)
    shape = (heads, -1)
    return key.unflatten(-1, shape).transpose(1, 2), value.unflatten(-1, shape).transpose(1, 2)


def integrate(
    velocity: Callable[[Tensor, Tensor], Tensor], source: Tensor, steps: int
) -> list[Tensor]:
    """Euler-integrate `velocity(x, tau (B,))` from `source` (B, T, A) over tau in [0, 1].

    Returns x at tau = 0, 1 / steps, ..., 1: steps + 1 tensors (B, T, A).
    """
    path = [source]
    for step in range(steps):
        tau = torch.full((source.shape[0],), step / steps, dtype=source.dtype, device=source.device)
        path.append(path[-1] + velocity(path[-1], tau) / steps)
    return path


def time_embedding(tau: Tensor, width: int) -> Tensor:
    """Sinusoidal embedding of flow times tau (...) in [0, 1] -> (..., width)."""
    half = width // 2
    steps = torch.arange(half, dtype=tau.dtype, device=tau.device)
    frequency = torch.exp(-math.log(1000.0) * steps / half) * 1000.0
    angle = tau[..., None] * frequency
    return torch.cat([angle.sin(), angle.cos()], -1)
