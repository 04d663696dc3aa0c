from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dualsys.config import load
from dualsys.learning import score_planner as scoring
from dualsys.learning.conversation import truth
from dualsys.learning.joined import open_datasets
from dualsys.learning.views import Views
from dualsys.system2 import checkpoint as checkpoints
from dualsys.system2.questions import chain
from sim.driving.spec import SPEC


def test_a_planner_is_scored_on_every_question(
    drives: Path, untrained: Path, planner_folder: Path, tmp_path: Path
) -> None:
    words = [f"planner={planner_folder}", f"data={drives}", f"prompts_from={untrained}"]
    words += [f"out={tmp_path}/score.json", "ticks=12", "candidates=2", "threads=1"]
    scoring.score_planner(load("score", words))
    report = json.loads((tmp_path / "score.json").read_text())
    assert list(report["questions"]) == [question.name for question in chain(SPEC)]
    for row in report["questions"].values():
        low, high = row["token_accuracy_ci95"]
        assert 0 <= low <= row["token_accuracy"] <= high <= 1
        assert row["answer_accuracy"] <= row["token_accuracy"]
        assert 0 < row["most_frequent"] <= 1
        assert 0 <= row["balanced_accuracy"] <= 1
    assert len(report["candidate_rmse"]) == 2
    assert 0 <= report["bits_measured"] <= min(report["bits_nominal"], np.log2(12))


def test_a_planner_that_says_the_truth_is_right_everywhere(
    drives: Path, planner_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planning = checkpoints.load(planner_folder)
    dataset = open_datasets(str(drives))
    rows = np.array([1, 20, 40])
    views = Views(dataset, planning.language, rows, None)

    def forced(*_: object) -> tuple[torch.Tensor, torch.Tensor]:
        turns = [scoring._turn(views, truth(dataset, int(row)))[0] for row in rows]
        longest = max(map(len, turns))
        said = torch.tensor([[*t, *[0] * (longest - len(t))] for t in turns])
        said_but_one = said.clone()
        first = scoring._turn(views, truth(dataset, 1))[1]["scene"][0]
        said_but_one[0, first] += 1
        return torch.nn.functional.one_hot(said_but_one, 2048).float(), said

    monkeypatch.setattr(scoring, "_forced", forced)
    found = scoring._questions(planning, dataset, views, 3)
    assert found["plan"]["token_accuracy"] == 1.0
    assert found["scene"]["answer_accuracy"] == pytest.approx(2 / 3)
    assert 0.5 < found["scene"]["token_accuracy"] < 1.0
