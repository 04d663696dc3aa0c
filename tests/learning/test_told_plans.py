"""Plans that System 1 was told, from the run over the dataset to the training batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dualsys.bench.evaluate import evaluate
from dualsys.config import load
from dualsys.learning.advice import thinking_rows
from dualsys.learning.batches import BatchConfig, Batches
from dualsys.learning.from_log import collect_runs
from dualsys.learning.joined import JoinedDataset, open_datasets
from dualsys.messages import Action, Guidance
from dualsys.runtime.log import read_log
from dualsys.system1.network import NetworkConfig
from sim.driving.spec import SPEC


def drive(untrained: Path, out: Path, period_s: float) -> None:
    words = ["scenario=driving/merge", "system2=random", f"out={out}"]
    words += [f"trigger.period_s={period_s}"]
    words += [f"system1.checkpoint={untrained}", "runtime.episode_s=6", "runtime.labels=true"]
    evaluate(load("eval", words), ["driving/merge"], [0], lambda result: None)


@pytest.fixture(scope="module")
def told_run(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("told")
    drive(untrained, out, 0.8)
    return out


@pytest.fixture(scope="module")
def told(told_run: Path, tmp_path_factory: pytest.TempPathFactory) -> JoinedDataset:
    root = tmp_path_factory.mktemp("data")
    collect_runs([told_run], root, lambda episode: None)
    return open_datasets(str(root))


def test_random_plans_are_all_said_and_the_same_again(untrained: Path, tmp_path: Path) -> None:
    def plans(out: Path) -> list[int]:
        drive(untrained, out, 0.2)  # some twenty plans: that all are the same can not be
        return [m.plan for _, m in read_log(out / "log.mcap") if isinstance(m, Guidance)]

    first = plans(tmp_path / "first")
    assert len(first) > 10
    assert len(set(first)) > 1
    assert plans(tmp_path / "again") == first


def test_a_dataset_says_how_old_the_plan_of_each_tick_was(
    told_run: Path, told: JoinedDataset
) -> None:
    used = {m.stamp.tick: m for _, m in read_log(told_run / "log.mcap") if isinstance(m, Action)}
    ages = [used[tick].guidance_age_ticks for tick in range(len(told.plan_age)) if tick in used]
    np.testing.assert_array_equal(told.plan_age[: len(ages)], ages)
    assert (told.plan_age >= 0).mean() > 0.5
    np.testing.assert_array_equal(told.plan_age < 0, told.plan < 0)


def test_demonstrations_were_told_nothing(drives: Path, told: JoinedDataset) -> None:
    joined = open_datasets([str(drives), str(told.parts[0].root)])
    count = len(joined.parts[0].state)
    assert (joined.plan_age[:count] == -1).all()
    np.testing.assert_array_equal(joined.plan_age[count:], told.plan_age)


def test_a_planner_is_to_think_where_the_plans_are_about(drives: Path, told: JoinedDataset) -> None:
    joined = open_datasets([str(drives), str(told.parts[0].root)])
    count = len(joined.parts[0].state)
    rows, plans = thinking_rows(joined, 8)
    start, _ = joined.episode_bounds()
    shown = rows[rows < count]
    np.testing.assert_array_equal(
        shown, np.flatnonzero((np.arange(count) - start[:count]) % 8 == 0)
    )
    np.testing.assert_array_equal(plans[: len(shown)], joined.plan[shown])
    ticks = np.arange(len(told.plan))
    about = np.unique((ticks - told.plan_age)[told.plan_age >= 0])
    np.testing.assert_array_equal(rows[len(shown) :] - count, about)
    at = dict(zip(rows.tolist(), plans.tolist(), strict=True))
    for tick in np.flatnonzero(told.plan_age >= 0):
        assert at[count + tick - told.plan_age[tick]] == told.plan[tick]


def test_system_1_is_taught_the_plan_it_was_told_with_its_age(told: JoinedDataset) -> None:
    config = BatchConfig(plan_dropout=0.0, candidate_rate=0.0, max_plan_age_ticks=12)
    sizes = NetworkConfig((), len(SPEC.state), 2, len(SPEC.plans), 1, horizon=4)
    source = Batches(told, SPEC, config, sizes, [(0, 1)])
    rows = np.flatnonzero(told.plan_age >= 0)
    given = source._guidance(rows)
    np.testing.assert_array_equal(given.plan.argmax(1), told.plan[rows])
    np.testing.assert_array_equal(given.age_ticks, told.plan_age[rows])
    batch = source.of_step(0, 0, 300)
    oldest_s = 12 / SPEC.control_rate_hz
    assert batch.phase[:, 0].max() == pytest.approx(oldest_s), "a run stamps no older plan"
