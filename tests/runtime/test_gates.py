"""A gate is used where it learned: with the same System 1, in the same domain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.runtime.assembly import checkpoint_folder, gate_folder, make_trigger
from dualsys.runtime.gates import judged
from dualsys.runtime.thresholds import weights_digest
from dualsys.trigger.gate import SCHEMA, Gate, GateCard, Judged, load_gate, save_gate
from dualsys.trigger.rules import LearnedTrigger
from sim.driving.spec import SPEC


def configuration(checkpoint: Path, gate: Path, *words: str) -> dict[str, Any]:
    shared = [f"system1.checkpoint={checkpoint}", "scenario=driving/merge", "system2=scripted"]
    return load("eval", [*shared, "trigger=learned", f"trigger.gate={gate}", *words])


def a_gate(folder: Path, whose: Judged) -> Path:
    leaf = {name: np.zeros(1, np.int32) for name in ("roots", "left", "right", "depth")}
    values = {name: np.zeros(1, np.float32) for name in ("threshold", "value")}
    arrays = {**leaf, **values, "feature": np.zeros(1, np.int16)}
    save_gate(folder, Gate(arrays, GateCard(SCHEMA, whose, {}, {}, {})))
    return folder


def test_a_gate_of_this_system_1_is_used(untrained: Path, tmp_path: Path) -> None:
    config = configuration(untrained, tmp_path / "gate", "system1.samples=4")
    whose = judged(config, SPEC, untrained)
    assert whose.weights == weights_digest(untrained)
    assert whose.samples == 4
    assert whose.features[:2] == ("entropy", "spread")
    moved = msgspec.structs.replace(whose, checkpoint="/where/it/lay/then")
    a_gate(tmp_path / "gate", moved)
    assert isinstance(make_trigger(config, SPEC), LearnedTrigger)


@pytest.mark.parametrize(
    ("changes", "words", "told"),
    [
        ({"domain": "manipulation"}, [], "domain: manipulation there, driving here"),
        ({"control_rate_hz": 20.0}, [], r"control rate \[Hz\]: 20.0 there, 15.0 here"),
        ({"weights": "abc"}, [], r"weights of System 1: abc there, \w{16} here"),
        ({}, ["system1.samples=4"], "system1.samples: 1 there, 4 here"),
        ({}, ["system1.noise_scale=0.5"], "system1.noise_scale: 0.0 there, 0.5 here"),
    ],
)
def test_a_gate_of_another_one_is_refused_with_both_sides(
    changes: dict[str, Any], words: list[str], told: str, untrained: Path, tmp_path: Path
) -> None:
    config = configuration(untrained, tmp_path / "gate")
    whose = msgspec.structs.replace(judged(config, SPEC, untrained), **changes)
    folder = a_gate(tmp_path / "gate", whose)
    with pytest.raises(DualsysError, match=told):
        make_trigger(configuration(untrained, folder, *words), SPEC)


def test_features_that_differ_are_named(untrained: Path, tmp_path: Path) -> None:
    config = configuration(untrained, tmp_path / "gate")
    whose = judged(config, SPEC, untrained)
    for features, told in (
        ((*whose.features[:-1], "mood"), rf"\['mood'\] there, \['{whose.features[-1]}'\] here"),
        (whose.features[::-1], r"\['perceived_.* there, \['entropy', 'spread'.* here"),
    ):
        a_gate(tmp_path / "gate", msgspec.structs.replace(whose, features=features))
        with pytest.raises(DualsysError, match=f"list of features: {told}"):
            make_trigger(config, SPEC)


def test_the_shipped_gate_judges_the_shipped_system_1() -> None:
    words = ["suite=longtail_hard", "trigger=learned", "system1.samples=4"]
    config = load("eval", words)
    trigger = make_trigger(config, SPEC)
    assert isinstance(trigger, LearnedTrigger)
    card = load_gate(gate_folder(config, SPEC)).card
    assert card.judged == judged(config, SPEC, checkpoint_folder(config, SPEC))
    assert card.judged.weights == weights_digest(checkpoint_folder(config, SPEC))
    first = card.scores["first"][0]
    assert first["useful"] > card.scores["useful"], "it calls where calls pay"
    with pytest.raises(DualsysError, match=r"samples: 4 there, 1 here; system1\.samples=4 suits"):
        make_trigger(load("eval", words[:2]), SPEC)
