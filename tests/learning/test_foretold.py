"""Plans foretold from tried ones: labels, a reference planner, states beside the tried ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.learning.dataset import Dataset
from dualsys.learning.fit_instruct import States, _foretold
from dualsys.learning.foretold import MARGIN, PlanWorth, foretold_rule
from dualsys.learning.joined import open_datasets
from dualsys.learning.plan_labels import label_plans
from dualsys.runtime import planners
from dualsys.runtime.probe import requests_of
from dualsys.system2.traffic import TrafficRule
from dualsys.whatif.plan_scores import PlanScores, save_scores
from sim.driving.spec import SPEC
from sim.driving.terms import Terms
from sim.manipulation.metaworld import SPEC as ARM

SPEED = [axis.name for axis in SPEC.state].index("speed")
YIELD = SPEC.plans.index("yield")


def driven(count: int) -> tuple[np.ndarray, np.ndarray]:
    """States (N, S) of different speed, all else equal, and empty scenes."""
    state = np.zeros((count, len(SPEC.state)), np.float32)
    state[:, SPEED] = np.linspace(0, 30, count)
    state[:, [axis.name for axis in SPEC.state].index("cruise_speed")] = 20.0
    return state, np.zeros((count, SPEC.scene_rows * len(SPEC.scene_fields)), np.float32)


def fast_should_yield(gain: float) -> PlanWorth:
    """Above 15 m/s yielding gains, else no plan does."""
    state, scene = driven(200)
    scores = np.full((200, len(SPEC.plans)), 0.5)
    scores[state[:, SPEED] > 15, YIELD] += gain
    return PlanWorth(SPEC, state, scene, scores)


def test_gains_are_foretold_from_the_state() -> None:
    state, scene = driven(30)
    gains = fast_should_yield(0.4).gains(state, scene)
    assert gains.shape == (30, len(SPEC.plans))
    np.testing.assert_allclose(gains.sum(1), 0, atol=1e-9)
    clear = np.abs(state[:, SPEED] - 15) > 1
    np.testing.assert_array_equal(gains[clear, YIELD] > 0.1, state[clear, SPEED] > 15)
    assert gains[-1, YIELD] == pytest.approx(0.4 * 0.8, abs=0.02)


def test_the_rules_plan_stands_where_no_other_gains_enough() -> None:
    state, scene = driven(30)
    rule = TrafficRule(SPEC)
    usual = [rule.judge(s, np.zeros((SPEC.scene_rows, len(SPEC.scene_fields))))[0] for s in state]
    told = [SPEC.plans[plan] for plan in fast_should_yield(0.4).plans(state, scene)]
    assert (told[0], told[-1]) == (usual[0], "yield")
    assert usual[-1] != "yield"
    little = fast_should_yield(MARGIN / 2).plans(state, scene)
    assert [SPEC.plans[plan] for plan in little] == usual


def test_labels_are_foretold_only_where_plans_were_tried(drives: Path) -> None:
    dataset = open_datasets(str(drives))
    before, rows = dataset.plan.copy(), np.arange(0, len(dataset.plan), 3)
    label_plans(dataset, "foretold", rows, fast_should_yield(0.4))
    fast = dataset.state[rows, SPEED] > 16
    assert fast.any()
    assert (dataset.plan[rows][fast] == YIELD).all()
    others = np.setdiff1d(np.arange(len(before)), rows)
    np.testing.assert_array_equal(dataset.plan[others], before[others])
    with pytest.raises(DualsysError, match="foretold"):
        label_plans(dataset, "foretold", rows)


def test_states_are_added_from_drives_that_are_not_held_out(drives: Path) -> None:
    dataset = open_datasets(str(drives))
    seeds = dataset.seeds()
    rows = np.array([int(np.flatnonzero(seeds == seed)[0]) for seed in np.unique(seeds)])
    held = np.array([False, True])
    known = States(rows, np.zeros((2, len(SPEC.plans))), seeds[rows], held)
    config = {"every_ticks": 1, "foretold_states": 12, "seed": 0}
    more = _foretold(dataset, known, fast_should_yield(0.4), config)
    assert len(more.rows) == 12
    assert set(more.seeds) == {seeds[rows[0]]}
    assert not set(more.rows) & set(rows)
    assert not more.held.any()
    assert (more.scores.std(1) > 0).all()


@pytest.fixture
def scores(drives: Path, tmp_path: Path) -> Path:
    """Every plan tried in ten states: a change to the left is always best."""
    rows = np.linspace(0, len(Dataset(drives).state) - 1, 10).astype(int).tolist()
    best = SPEC.plans.index("change_left")
    good, bad = Terms(1.0, 1.0, 1.0, 1.0), Terms(0.0, 0.5, 0.5, 0.5)
    terms = [[good if p == best else bad for p in range(len(SPEC.plans))] for _ in rows]
    tried = PlanScores("dualsys-plan-scores/1", str(drives), rows, SPEC.plans, terms, {})
    save_scores(tried, tmp_path / "scores.json")
    return tmp_path / "scores.json"


def test_a_planner_can_say_what_is_foretold_to_be_best(scores: Path) -> None:
    words = ["scenario=driving/merge", "system2=foretold", f"system2.scores={scores}"]
    planner = planners.make_planner(load("eval", words), SPEC, {})
    assert planner is not None
    for request in requests_of("driving/merge", 3):
        (guidance,) = planner.think(request, "short")
        assert SPEC.plans[guidance.plan] == "change_left"
        assert guidance.text == "change_left: foretold from what was tried"


def test_scores_that_foretell_nothing_here_are_refused(scores: Path, drives: Path) -> None:
    with pytest.raises(DualsysError, match="the plans tried in"):
        foretold_rule(scores, ARM)
    empty = scores.with_name("empty.json")
    save_scores(PlanScores("dualsys-plan-scores/1", str(drives), [], SPEC.plans, [], {}), empty)
    with pytest.raises(DualsysError, match="holds no tried state"):
        foretold_rule(empty, SPEC)
    with pytest.raises(DualsysError, match="holds no plan scores"):
        foretold_rule(scores.with_name("none.json"), SPEC)
    without = load("eval", ["scenario=driving/merge", "system2=foretold"])
    with pytest.raises(DualsysError, match=r"give system2\.scores=FILE"):
        planners.make_planner(without, SPEC, {})
