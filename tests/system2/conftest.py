from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dualsys.system2.build import ModelSizes, build
from dualsys.system2.language import LanguageModel, describe
from dualsys.system2.questions import chain
from sim.driving.spec import SPEC

TINY = ModelSizes(vision_width=16, vision_layers=1, vision_heads=2, text_width=16, text_layers=1,
                  text_heads=2, key_value_heads=1, vocabulary=600, patch_px=16)  # fmt: skip


def sentences() -> list[str]:
    state = np.zeros(len(SPEC.state), np.float32)
    found = [describe(SPEC, state, "drive on along the highway")]
    for question in chain(SPEC):
        found += [*question.phrasings, *(f" {w}," for slot in question.slots for w in slot.words)]
    return found


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained vision-language checkpoint of the driving worlds."""
    folder = tmp_path_factory.mktemp("vlm")
    build(folder, TINY, sentences())
    return folder


@pytest.fixture(scope="session")
def language(checkpoint: Path) -> LanguageModel:
    return LanguageModel.load(checkpoint)
