"""What a trained planner thinks at the ticks of a dataset: frozen inputs of the value and cascade.

The language model is run once over the rows; what is trained on top of it then costs little.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor

from dualsys.errors import DualsysError
from dualsys.learning.dataset import JoinedDataset
from dualsys.learning.samples import system1_samples
from dualsys.learning.views import Views
from dualsys.spec import require_same
from dualsys.system2.checkpoint import Planning


class Thoughts(msgspec.Struct, frozen=True):
    """One thought per row, all tensors on the processor; actions normalised as the planner's.

    tokens: float16 (N, L, D), what the heads read; candidates: float32 (N, C, knots, A), the depth
    ladder; code: float32 (N, Z), the plan vector.
    """

    tokens: Tensor
    candidates: Tensor
    code: Tensor


def think_at(
    planning: Planning,
    dataset: JoinedDataset,
    rows: np.ndarray,
    prompts_from: str,
    candidates: int,
    seed: int = 0,
) -> Thoughts:
    """Think at `rows` of a dataset, under the plans that it holds.

    Raises `SpecMismatchError` when planner and data are of two worlds.
    """
    require_same(planning.card.spec, dataset.spec, "the planner", "the data")
    return think(planning, views_of(planning, dataset, rows, prompts_from), candidates, seed)


@torch.inference_mode()
def read(
    planning: Planning, views: Views, places: list[int], drawn: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Last hidden states float32 (B, L, D) of the prompts at `places` and their mask (B, L).

    In bfloat16, as in training: that takes half the time, and changes the states by half a percent.
    """
    inputs, model = views.prompt(places, drawn), planning.language.model
    with torch.autocast(model.device.type, torch.bfloat16):
        output = model(**inputs, output_hidden_states=True, use_cache=False, logits_to_keep=1)
    return output.hidden_states[-1].float().cpu(), inputs["attention_mask"].bool().cpu()


@torch.inference_mode()
def think(
    planning: Planning, views: Views, candidates: int, seed: int = 0, batch_size: int = 64
) -> Thoughts:
    """Think about every view."""
    heads, sizes = planning.heads, planning.heads.config
    generator = torch.Generator().manual_seed(seed)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for at in range(0, len(views), batch_size):
        places = list(range(at, min(at + batch_size, len(views))))
        hidden, mask = read(planning, views, places, np.full(len(places), planning.card.prompts))
        tokens = heads.readout(hidden, mask, *views.known(places))
        noise = torch.randn((len(places), sizes.knots, sizes.action_size), generator=generator)
        ladder = heads.candidates.ladder(noise, tokens, candidates)
        parts.append((tokens.half(), ladder, heads.bottleneck(tokens)))
    tokens, ladder, code = (torch.cat(found) for found in zip(*parts, strict=True))
    return Thoughts(tokens, ladder, code)


def views_of(
    planning: Planning, dataset: JoinedDataset, rows: np.ndarray, prompts_from: str
) -> Views:
    """What the planner sees at `rows`, as in a run: with prompts if it was trained with them.

    `prompts_from` is the System-1 checkpoint whose samples are drawn into the images. Raises
    `DualsysError` when the planner expects them and none is given.
    """
    samples = None
    if planning.card.prompts:
        if not prompts_from:
            raise DualsysError(
                "the planner was trained with System 1's samples drawn into its images; "
                "give prompts_from=FOLDER, the checkpoint whose samples are to be drawn"
            )
        samples = system1_samples(Path(prompts_from), dataset, rows)
    norm = {name: value.numpy() for name, value in planning.normalisation.items()}
    return Views(dataset, planning.language, rows, samples, norm)
