"""The loss of the value-query head: calibrated conservative Q-learning over whole chunks.

Cal-QL (arXiv 2303.05479) as Hume uses it (arXiv 2505.21432): with Q of the twin critics,
    loss = 1/2 E (Q(s, A) - y)^2 + alpha (E_pi max(Q(s, A'), G) - E_data Q(s, A))
    y = R + b min_critics E_pi Qbar(s', A'),    G = Monte-Carlo return of the data at s
R is the chunk's discounted reward and b its bootstrap factor: zero after termination (the released
code of Hume passes the reward there). A' are the depth ladder's candidates. Where such candidates
were themselves carried out and recorded, the second term says nothing and is left out.
"""

from __future__ import annotations

import copy

import msgspec
import torch
from torch import Tensor, nn

from dualsys.system2.heads import ValueHead

TARGET_RATE = 0.01  # share of the critics that flows into the target critics per step


class Transitions(msgspec.Struct):
    """Chunk-level transitions; rewards and returns in the scale in which the critics speak."""

    tokens: Tensor  # (B, L, D)
    chunk: Tensor  # (B, knots, A) executed, normalised
    proposed: Tensor  # (B, N, knots, A) candidates at the same tick
    reward: Tensor  # (B,) discounted over the chunk
    bootstrap: Tensor  # (B,) factor of the value after it, 0 when terminated
    monte_carlo: Tensor  # (B,), nan where candidates themselves were tried: its end is not known
    after_tokens: Tensor  # (B, L, D)
    after_proposed: Tensor  # (B, N, knots, A)


class Critics(nn.Module):
    """The value head in training with its slowly following targets."""

    def __init__(self, value: ValueHead) -> None:
        super().__init__()
        self.value = value.requires_grad_(True)
        self.target = copy.deepcopy(value).requires_grad_(False)

    @torch.no_grad()
    def follow(self) -> None:
        """Move the targets a little towards the critics."""
        for old, new in zip(self.target.parameters(), self.value.parameters(), strict=True):
            old.lerp_(new, TARGET_RATE)


def value_losses(critics: Critics, batch: Transitions) -> dict[str, Tensor]:
    """The two terms of the loss on one batch; the targets are moved first."""
    critics.follow()
    chunks = torch.cat([batch.chunk[:, None], batch.proposed], 1)
    values = critics.value(batch.tokens, chunks).float()
    recorded, proposed = values[:, 0], values[:, 1:]
    with torch.no_grad():
        after = critics.target(batch.after_tokens, batch.after_proposed).float()
        wanted = batch.reward + batch.bootstrap * after.mean(1).min(-1).values
    floor = batch.monte_carlo[:, None, None].nan_to_num()
    margin = torch.maximum(proposed, floor).mean(1) - recorded  # (B, critics)
    followed = batch.monte_carlo.isfinite().float()[:, None]
    count = (followed.sum() * margin.shape[1]).clamp(min=1.0)
    return {
        "difference": 0.5 * (recorded - wanted[:, None]).square().mean(),
        "conservative": (margin * followed).sum() / count,
    }
