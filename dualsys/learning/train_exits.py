"""The loss of the early exits: each foretells the velocity that all blocks make (distillation).

The network is frozen. What it is asked is what a run asks: points of flows from the sources that
runs start from, drawn on by the whole network and by the exits themselves, committed beginnings
and guidance as in its own training.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from dualsys.learning.batches import Batch
from dualsys.system1.network import Context, Guided, System1Network

KNOTS = 4  # points of every flow that are learned from; the first is its source


def losses(exits: nn.ModuleList, network: System1Network, batch: Batch) -> dict[str, Tensor]:
    """Mean square error of each exit's velocity on one batch, normalised; each a scalar."""
    with torch.no_grad(), torch.autocast(batch.state.device.type, enabled=False):
        guided = Guided(batch.plan, batch.z, batch.phase)
        context = network.encode(batch.images, batch.state, guided)
        committed = batch.committed if network.config.commit_ticks else None
        x = begun(batch)
        taus = torch.rand(KNOTS + 1, len(x), device=x.device).sort(0).values
        taus[0] = 0
    driver = torch.randint(len(exits) + 1, (len(x),), device=x.device)
    free = 1 - batch.committed
    total: list[Tensor] = [x.new_zeros(()) for _ in exits]
    for tau, then in pairwise(taus):
        velocities = foretold(exits, network, x, tau, context, committed)
        for number, velocity in enumerate(velocities[:-1]):
            error = (velocity - velocities[-1]).square().mean(-1)
            total[number] = total[number] + (error * free).sum() / free.sum() / KNOTS
        with torch.no_grad():
            drawn = torch.stack(velocities)[driver, torch.arange(len(x), device=x.device)]
            x = x + (then - tau)[:, None, None] * free[..., None] * drawn
    return {f"behind_{number}": value for number, value in enumerate(total, 1)}


def begun(batch: Batch) -> Tensor:
    """Where flows start (B, T, A): of those without a candidate every other at zero, as in runs.

    A run carries out the flow from `system1.noise_scale` times the noise, which is zero by default.
    """
    proposed = batch.phase[:, 2] > 0
    noisy = proposed | (torch.rand(len(proposed), device=proposed.device) < 0.5)
    source = batch.source * noisy[:, None, None]
    return torch.where(batch.committed[..., None] > 0, batch.executed, source)


def foretold(
    exits: nn.ModuleList,
    network: System1Network,
    x: Tensor,
    tau: Tensor,
    context: Context,
    committed: Tensor | None,
) -> list[Tensor]:
    """The velocity (B, T, A) by each of the exits, and by the whole network, which comes last."""
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        behind = list(network.behind_blocks(x, tau, context, committed))
        whole: Tensor = network.action_out(network.action_norm(behind[-1]))
    return [*(one(seen).float() for one, seen in zip(exits, behind, strict=False)), whole]
