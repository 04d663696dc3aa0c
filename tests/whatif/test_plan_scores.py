"""Every plan is tried out from drawn states, and what came of it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.learning.dataset import Dataset
from dualsys.learning.from_log import collect_runs
from dualsys.whatif import plan_scores
from dualsys.whatif.plan_scores import (
    PlanScores,
    Trial,
    load_scores,
    save_scores,
    score_plans,
    starts_of,
)
from sim.driving.spec import SPEC
from sim.driving.terms import Terms


@pytest.fixture(scope="module")
def driven(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("driven")
    collect_runs([run_folder], root, lambda episode: None)
    return root


@pytest.fixture(scope="module")
def eval_config(untrained: Path) -> dict[str, Any]:
    return load("eval", ["scenario=driving/merge", f"system1.checkpoint={untrained}"])


@pytest.fixture(scope="module")
def trial(driven: Path) -> Trial:
    return Trial(str(driven), states=3, told_s=0.3, horizon_s=0.6, seed=0, before_harm=0.0)


@pytest.fixture(scope="module")
def tried_plans(
    eval_config: dict[str, Any], trial: Trial, tmp_path_factory: pytest.TempPathFactory
) -> PlanScores:
    done: list[int] = []
    out = tmp_path_factory.mktemp("tried") / "scores.json"
    scores = score_plans(eval_config, trial, 1, out, done.append)
    assert sum(done) == 3
    return scores


def test_every_plan_is_tried_from_every_state(tried_plans: PlanScores, driven: Path) -> None:
    assert tried_plans.plans == SPEC.plans
    assert [len(row) for row in tried_plans.terms] == [len(SPEC.plans)] * 3
    scores = tried_plans.scores(Terms(1, 1, 1, 1))
    assert ((scores >= 0) & (scores <= 1)).all()
    starts = starts_of(Dataset(driven), 3, 9, 0)
    assert [start.row for start in starts] == tried_plans.rows
    first, _ = Dataset(driven).episode_bounds()
    for start in starts:
        assert len(start.commands) == start.row - first[start.row]


def test_after_it_was_told_system_1_goes_on_alone(
    eval_config: dict[str, Any], trial: Trial, driven: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[list[int | None]] = []

    def drive(*args: Any) -> Terms:
        told, ticks = args[-2:]
        heard.append([known.plan if (known := told(tick)) else None for tick in range(ticks)])
        return Terms(1.0, 1.0, 1.0, 1.0)

    monkeypatch.setattr(plan_scores, "drive", drive)
    start = starts_of(Dataset(driven), 1, 9, 0)[0]
    plan_scores.work(plan_scores.Job(eval_config, start.scenario, (start,), trial))
    # Told for 0.3 s, driven for 0.6 s, at 15 Hz.
    assert heard == [[plan] * 4 + [None] * 5 for plan in range(len(SPEC.plans))]


class _Drives:
    """Three drives of 100 ticks; the second one ends in harm, the third is cut off by time."""

    root = Path("drives")
    ends = np.array([100, 200, 300])
    terminated = np.isin(np.arange(300), ends[:2] - 1)
    executed = np.zeros((300, 2), np.float32)
    episodes = pa.table(
        {
            "length": [100] * 3,
            "success": [True, False, False],
            "dataset_from_index": [0, 100, 200],
            "scenario": ["driving/merge"] * 3,
            "seed": [1, 2, 3],
        }
    )

    def episode_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        end = np.repeat(self.ends, 100)
        return end - 100, end


def test_states_before_harm_are_drawn_as_often_as_asked() -> None:
    drives: Any = _Drives()
    rows = np.array([start.row for start in starts_of(drives, 20, 60, 0, before_harm=0.5)])
    assert ((rows >= 140) & (rows < 200 - 15)).sum() == 10
    assert len(np.unique(rows)) == 20
    rows = np.array([start.row for start in starts_of(drives, 20, 60, 0)])
    assert not ((rows >= 140) & (rows < 200)).any()
    with pytest.raises(DualsysError, match="share from 0 to 1"):
        starts_of(drives, 20, 60, 0, before_harm=2.0)


def test_scores_are_read_back_as_written(tried_plans: PlanScores, tmp_path: Path) -> None:
    save_scores(tried_plans, tmp_path / "scores.json")
    found = load_scores(tmp_path / "scores.json")
    assert found.rows == tried_plans.rows
    assert found.terms == tried_plans.terms
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(DualsysError, match="holds no plan scores"):
        load_scores(tmp_path / "broken.json")


def test_a_trial_goes_on_where_it_was_interrupted(
    tried_plans: PlanScores, eval_config: dict[str, Any], trial: Trial, tmp_path: Path
) -> None:
    out = tmp_path / "scores.json"
    # A mark in the part that is kept shows that it was not made again.
    marked = [Terms(0.0, 0.0, 0.0, 0.125)] * len(SPEC.plans)
    part = {"rows": tried_plans.rows[:2], "terms": [marked, tried_plans.terms[1]]}
    save_scores(msgspec.structs.replace(tried_plans, **part), out)
    done: list[int] = []
    found = score_plans(eval_config, trial, 1, out, done.append)
    assert done == [2, 1]
    assert found.rows == load_scores(out).rows == tried_plans.rows
    assert found.terms == [marked, *tried_plans.terms[1:]]

    other = msgspec.structs.replace(trial, seed=1)
    with pytest.raises(DualsysError, match="tried with another trial"):
        score_plans(eval_config, other, 1, out, done.append)
    assert load_scores(out).rows == tried_plans.rows
