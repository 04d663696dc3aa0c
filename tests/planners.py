"""A tiny untrained vision-language planner of the driving worlds, for tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch

from dualsys.system2.build import build
from dualsys.system2.checkpoint import Card, save_heads
from dualsys.system2.heads import Heads
from dualsys.system2.language import describe
from dualsys.system2.questions import chain
from dualsys.system2.sizes import HeadsConfig, ModelSizes
from sim.driving.spec import SPEC

TINY = ModelSizes(vision_width=16, vision_layers=1, vision_heads=2, text_width=16, text_layers=1,
                  text_heads=2, key_value_heads=1, vocabulary=600, patch_px=16)  # fmt: skip


def sentences() -> list[str]:
    state = np.zeros(len(SPEC.state), np.float32)
    found = [describe(SPEC, state, "drive on along the highway")]
    for question in chain(SPEC):
        found += [*question.phrasings, *(f" {w}," for slot in question.slots for w in slot.words)]
    return found


def build_language(folder: Path) -> Path:
    """A vision-language checkpoint without heads."""
    build(folder, TINY, sentences())
    return folder


def build_planner(checkpoint: Path, folder: Path) -> Path:
    """The same with untrained heads beside it; their values are drawn at random, as the card says.

    A planner whose card tells of no values may not choose by them.
    """
    shutil.copytree(checkpoint, folder)
    torch.manual_seed(0)
    config = HeadsConfig(text_width=16, state_size=len(SPEC.state), action_size=2,
                         plans=len(SPEC.plans), stride_ticks=2, knots=8, width=16, layers=1,
                         heads=2, read_tokens=4, proposal_ticks=12)  # fmt: skip
    heads = Heads(config)
    for parameter in (heads.candidates.out.weight, heads.value.value):
        torch.nn.init.normal_(parameter, std=0.5)  # they start at zero: let inputs show
    normalisation = {f"{k}_{m}": torch.full((n,), float(m == "std"))
                     for k, n in (("state", len(SPEC.state)), ("action", 2))
                     for m in ("mean", "std")}  # fmt: skip
    training = {"value": {"drawn": "at random"}}
    save_heads(folder, heads, normalisation, Card(config, SPEC, True, {}, training, {}, {}))
    return folder
