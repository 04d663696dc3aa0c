from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.learning.fit_heads import Readings, fit_heads
from dualsys.learning.joined import open_datasets
from dualsys.learning.thoughts import read_and_plan, views_of
from dualsys.system2 import checkpoint as checkpoints
from sim.driving.spec import SPEC


def test_the_heads_go_on_learning_on_what_was_read(
    drives: Path, untrained: Path, planner_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(planner_folder, tmp_path / "planner")
    planning = checkpoints.load(folder)
    scored = msgspec.structs.replace(planning.card, scores={"success": 0.9})
    checkpoints.save_heads(folder, planning.heads, planning.normalisation, scored)
    words = [f"planner={folder}", f"data={drives}", f"prompts_from={untrained}", "steps=40"]
    words += ["batch_size=16", "learning_rate=0.01", "threads=1", "device=cpu"]
    seen: list[dict[str, float]] = []
    config = load("train heads", words)
    fit_heads(config, lambda step, parts: seen.append(parts))
    before, after = (checkpoints.load(f) for f in (planner_folder, folder))
    for name, tensor in after.language.model.state_dict().items():
        assert torch.equal(tensor, before.language.model.state_dict()[name]), name
    assert torch.equal(after.heads.value.queries, before.heads.value.queries)
    assert not torch.equal(after.heads.bottleneck.down.weight, before.heads.bottleneck.down.weight)
    assert after.card.training["heads"]["steps"] == 40
    count = sum(parameter.numel() for parameter in after.heads.parameters())
    assert after.card.model["heads_parameters"] == count
    assert after.card.scores == {}, "those of other heads say nothing of these"


def test_heads_learn_under_the_planners_own_plans_as_often_as_told(
    drives: Path, planner_folder: Path, untrained: Path
) -> None:
    planning = checkpoints.load(planner_folder)
    dataset = open_datasets(str(drives))
    views = views_of(planning, dataset, np.arange(0, 60), str(untrained))
    places = list(range(60))
    recorded = views.known(places)[1]
    _, answered = read_and_plan(planning, views, places, np.zeros(60, bool))
    own = torch.nn.functional.one_hot(answered, len(SPEC.plans)).float()
    none, some, all_ = (
        Readings(planning, dataset, views, 0, share)._plan for share in (0.0, 0.5, 1.0)
    )
    assert torch.equal(none, recorded)
    assert (all_ == own).float().mean() > 0.9, "visual prompts may change some answers"
    differ = (none != all_).any(1)
    assert differ.sum() > 20
    assert 0.25 < (some[differ] == all_[differ]).all(1).float().mean() < 0.75


def test_heads_learn_to_read_proposals_and_keep_what_they_knew(
    drives: Path, untrained: Path, planner_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(planner_folder, tmp_path / "planner")
    words = [f"planner={folder}", f"data={drives}", f"prompts_from={untrained}", "steps=2"]
    words += ["batch_size=8", "threads=1", "device=cpu", "learning_rate=1e-9"]
    grow = load("train heads", [*words, "proposal_ticks=6"])
    fit_heads(grow, lambda step, parts: None)
    before, after = (checkpoints.load(f) for f in (planner_folder, folder))
    assert (before.heads.config.proposal_ticks, after.heads.config.proposal_ticks) == (12, 6)
    kept = after.heads.state_dict()
    for name, tensor in before.heads.state_dict().items():
        if "proposal_in" not in name:
            torch.testing.assert_close(kept[name], tensor, atol=1e-5, rtol=1e-5)
    fit_heads(grow, lambda step, parts: None)  # it goes on from its own state
    with pytest.raises(DualsysError, match=r"begun with proposal_ticks=6, .* proposal_ticks=8"):
        fit_heads(load("train heads", [*words, "proposal_ticks=8"]), lambda step, parts: None)


def test_heads_that_go_on_leave_a_newer_value_alone(
    drives: Path, untrained: Path, planner_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(planner_folder, tmp_path / "planner")
    words = [f"planner={folder}", f"data={drives}", f"prompts_from={untrained}", "steps=2"]
    config = load("train heads", [*words, "batch_size=8", "threads=1", "device=cpu"])
    fit_heads(config, lambda step, parts: None)
    planning = checkpoints.load(folder)
    torch.nn.init.constant_(planning.heads.value.bias, 7.0)  # as if its value was trained now
    checkpoints.save_heads(folder, planning.heads, planning.normalisation, planning.card)
    fit_heads(config, lambda step, parts: None)
    assert (checkpoints.load(folder).heads.value.bias == 7.0).all()
