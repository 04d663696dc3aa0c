"""Every training, scoring and thinking on a device that is not the processor.

On the pretended one everywhere; on a GPU where there is one.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dualsys.config import load
from dualsys.device import device_of
from dualsys.errors import DualsysError
from dualsys.learning.dataset import Dataset
from dualsys.learning.fit_heads import fit_heads
from dualsys.learning.fit_instruct import fit_instruct
from dualsys.learning.fit_planner import fit_planner
from dualsys.learning.fit_policy import fit_policy
from dualsys.learning.fit_value import fit_value
from dualsys.learning.score_planner import score_planner
from dualsys.runtime import planners
from dualsys.system2 import checkpoint as checkpoints
from dualsys.system2.vision import VisionPlanner
from dualsys.whatif.plan_scores import PlanScores, save_scores
from sim.driving.spec import SPEC
from sim.driving.terms import Terms
from tests.pretended import pretended_device
from tests.system2.test_vision import request

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
SHORT = ["steps=2", "threads=1"]


@pytest.fixture(params=["pretended", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "cuda":
        yield "cuda"
        return
    with pretended_device(monkeypatch) as name:
        yield name


@pytest.fixture
def folder(planner_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(planner_folder, tmp_path / "planner")


def silently(step: int, parts: dict[str, float]) -> None:
    assert all(np.isfinite(value) for value in parts.values())


def test_a_planner_is_trained(drives: Path, untrained: Path, tmp_path: Path, device: str) -> None:
    small = "vision_width=16 vision_layers=1 vision_heads=2 text_width=16 text_layers=1"
    small += " text_heads=2 key_value_heads=1 vocabulary=600 patch_px=16"
    words = [f"data={drives}", f"out={tmp_path}", f"prompts_from={untrained}", f"device={device}"]
    words += [*(f"model.{word}" for word in small.split()), "heads.width=16", "heads.layers=1"]
    config = load("train system2", [*words, *SHORT, "batch_size=4"])
    found = checkpoints.load(fit_planner(config, silently))
    assert found.card.training["device"] == device
    assert fit_planner({**config, "steps": 3}, silently) == tmp_path, "it goes on from its state"


def test_heads_are_trained(drives: Path, untrained: Path, folder: Path, device: str) -> None:
    words = [f"planner={folder}", f"data={drives}", f"prompts_from={untrained}"]
    words += [f"device={device}", "batch_size=8", "proposal_ticks=6", "every_ticks=8", *SHORT]
    fit_heads(load("train heads", words), silently)
    assert checkpoints.load(folder).card.training["heads"]["device"] == device


def test_values_are_trained(outcomes: Path, untrained: Path, folder: Path, device: str) -> None:
    words = [f"planner={folder}", f"data={outcomes}", f"prompts_from={untrained}"]
    words += [f"device={device}", "batch_size=8", "every_ticks=8", *SHORT]
    fit_value(load("train value", words), silently)
    assert checkpoints.load(folder).card.training["value"]["device"] == device


def test_a_planner_is_instructed(
    drives: Path, untrained: Path, folder: Path, tmp_path: Path, device: str
) -> None:
    rows = [
        int(start) + n for start in np.unique(Dataset(drives).episode_bounds()[0]) for n in (0, 5)
    ]
    terms = [[Terms(1.0, c, c, c) for c in np.linspace(0, 1, len(SPEC.plans)).tolist()]] * len(rows)
    scores = PlanScores("dualsys-plan-scores/1", str(drives), rows, SPEC.plans, terms, {})
    save_scores(scores, tmp_path / "scores.json")
    words = [f"planner={folder}", f"scores={tmp_path}/scores.json", f"data={drives}", *SHORT]
    words += [f"prompts_from={untrained}", f"device={device}", f"out={tmp_path}/out"]
    config = load("train instruct", [*words, "batch_size=2", "states=2", "every_ticks=8"])
    found = checkpoints.load(fit_instruct(config, silently))
    assert found.card.training["instruct"]["held_out_states"] == 2


def test_system_1_is_advised(
    drives: Path, untrained: Path, folder: Path, tmp_path: Path, device: str
) -> None:
    words = [f"data={drives}", f"out={tmp_path}/out", f"planner={folder}", f"device={device}"]
    words += [f"prompts_from={untrained}", "recipe=driving", "batch_size=4", *SHORT]
    words += ["network.width=32", "network.layers=1", "network.horizon=4", "advice_candidates=2"]
    assert (fit_policy(load("train system1", words), silently) / "card.json").is_file()


def test_a_planner_is_scored(
    drives: Path, untrained: Path, folder: Path, tmp_path: Path, device: str
) -> None:
    words = [f"planner={folder}", f"data={drives}", f"prompts_from={untrained}", "ticks=4"]
    words += [f"out={tmp_path}/score.json", "candidates=2", "threads=1", f"device={device}"]
    score_planner(load("score", words))
    assert (tmp_path / "score.json").is_file()


def test_a_planner_thinks_where_it_is_told_to(folder: Path, device: str) -> None:
    words = ["scenario=driving/merge", "system2=vlm", f"system2.checkpoint={folder}"]
    words += [f"system2.device={device}", "system2.votes=5", "system2.majority=5"]
    words += ["system2.candidates=2"]
    planner = planners.make_planner(load("eval", words), SPEC, {})
    assert isinstance(planner, VisionPlanner)
    assert planner.planning.device.type == device
    told = list(planner.think(request(3), "full"))
    assert told[-1].final
    assert planner.thought is not None
    assert sum(planner.thought.votes.values()) > 1, "plans were sampled"


def test_a_device_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DualsysError, match="device=gpu is none of torch's"):
        device_of("gpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert device_of("cuda:0") == "cuda:0"
    with pytest.raises(DualsysError, match=r"device=cuda:1 is asked for, torch sees 1 CUDA dev"):
        device_of("cuda:1")


@pytest.mark.parametrize(("there", "found"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_a_gpu_when_there_is_one(
    monkeypatch: pytest.MonkeyPatch, there: bool, found: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert device_of("auto") == found
    config: dict[str, Any] = load("train value", ["planner=DIR", "data=DIR"])
    assert device_of(config["device"]) == found
