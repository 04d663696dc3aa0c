"""The loss of System 1's imitation training: flow matching + Laplace likelihood + perceived scene.

Loss = E |v_theta(x_tau, tau, c) - (expert - source)|^2            (flow matching, arXiv 2210.02747)
     + laplace weight * E [log 2b + |expert - mu| / b]             (Laplace negative log-likelihood)
     + perceive weight * E |scene_hat - scene|^2                   (object positions, labels only)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dualsys.learning.batches import Batch
from dualsys.system1.network import Guided, System1Network


def losses(network: System1Network, batch: Batch) -> dict[str, Tensor]:
    """The three terms of the loss on one batch, each a scalar."""
    context = network.encode(batch.images, batch.state, Guided(batch.plan, batch.z, batch.phase))
    tau = torch.rand(len(batch.state), device=batch.state.device)
    committed = batch.committed if network.config.commit_ticks else None
    mixed = torch.lerp(batch.source, batch.chunk, tau[:, None, None])
    if committed is not None:
        # Not the expert's actions: with those, to go on as before would always have been right.
        mixed = torch.where(committed[..., None] > 0, batch.executed, mixed)
    velocity = network.velocity(mixed, tau, context, committed).float()
    flow = (velocity - (batch.chunk - batch.source)).square().mean(-1)
    log_scale = context.log_scale.float()
    miss = (batch.chunk - context.mean.float()).abs()
    laplace = (math.log(2.0) + log_scale + miss * (-log_scale).exp()).mean(-1)
    seen = (context.perceived.float() - batch.perceived).square() * batch.perceived_mask
    ticks, asked = batch.mask.sum(), batch.mask * (1 - batch.committed)
    return {
        "flow": (flow * asked).sum() / asked.sum().clamp(min=1.0),
        "laplace": (laplace * batch.mask).sum() / ticks,
        "perceive": seen.sum() / batch.perceived_mask.sum().clamp(min=1.0),
    }
