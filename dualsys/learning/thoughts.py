"""What a trained planner thinks at the ticks of a dataset: frozen inputs of the value and cascade.

The language model is run once over the rows; what is trained on top of it then costs little.
"""

from __future__ import annotations

import msgspec
import numpy as np
import torch
from torch import Tensor

from dualsys.learning.views import Views
from dualsys.system2.checkpoint import Planning


class Thoughts(msgspec.Struct, frozen=True):
    """One thought per row, all tensors on the processor; actions normalised as the planner's.

    tokens: float16 (N, L, D), what the heads read; candidates: float32 (N, C, knots, A), the depth
    ladder; code: float32 (N, Z), the plan vector.
    """

    tokens: Tensor
    candidates: Tensor
    code: Tensor


@torch.inference_mode()
def think_at(
    planning: Planning,
    views: Views,
    candidates: int,
    seed: int = 0,
    batch_size: int = 64,
) -> Thoughts:
    """Think at every row of `views`, under the plans that the dataset holds."""
    model, heads = planning.language.model, planning.heads
    sizes, count = heads.config, len(views)
    generator = torch.Generator().manual_seed(seed)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for at in range(0, count, batch_size):
        places = list(range(at, min(at + batch_size, count)))
        inputs = views.prompt(places, np.full(len(places), planning.card.prompts))
        state, plan = views.known(places)
        output = model(**inputs, output_hidden_states=True, use_cache=False, logits_to_keep=1)
        mask = inputs["attention_mask"].bool()
        tokens = heads.readout(output.hidden_states[-1].float(), mask, state, plan)
        noise = torch.randn((len(places), sizes.knots, sizes.action_size), generator=generator)
        ladder = heads.candidates.ladder(noise, tokens, candidates)
        parts.append((tokens.half(), ladder, heads.bottleneck(tokens)))
    tokens, ladder, code = (torch.cat(found) for found in zip(*parts, strict=True))
    return Thoughts(tokens, ladder, code)


def to_ticks(planning: Planning, candidates: Tensor) -> np.ndarray:
    """Candidates (..., knots, A) as commands (..., ticks, A) in the world's units."""
    normalisation = planning.normalisation
    knots = candidates * normalisation["action_std"] + normalisation["action_mean"]
    ticks = knots.repeat_interleave(planning.heads.config.stride_ticks, -2).numpy()
    spec = planning.card.spec
    return np.clip(ticks, spec.action_low, spec.action_high).astype(np.float32)
