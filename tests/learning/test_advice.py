from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest

from dualsys.errors import DualsysError
from dualsys.learning.advice import Advice, advise
from dualsys.learning.batches import COARSER_LEVELS, Batch, BatchConfig, Batches
from dualsys.learning.joined import JoinedDataset, open_datasets
from dualsys.system1.network import NetworkConfig
from dualsys.system1.sampler import CANDIDATE_NOISE
from dualsys.system2.coding import coarser
from sim.driving.spec import SPEC

EVERY, CHUNK, CODE = 4, 16, 8  # the tiny planner's chunk is 8 knots of 2 ticks
MEAN, STD = np.array([0.5, 0.0], np.float32), np.array([2.0, 0.1], np.float32)


@pytest.fixture(scope="module")
def dataset(drives: Path) -> JoinedDataset:
    return open_datasets(str(drives))


@pytest.fixture(scope="module")
def advice(dataset: JoinedDataset, planner_folder: Path, untrained: Path) -> Advice:
    return advise(planner_folder, str(untrained), dataset, EVERY, 3, seed=0, device="cpu")


def drawn(dataset: JoinedDataset, advice: Advice, size: int, horizon: int = 4) -> Batch:
    norm = {"action_mean": MEAN, "action_std": STD}
    state = len(SPEC.state)
    norm |= {"state_mean": np.zeros(state, np.float32), "state_std": np.ones(state, np.float32)}
    # Plans are told at ages of which most are beyond the candidates' end.
    config = BatchConfig(plan_dropout=0.2, candidate_rate=0.9, max_plan_age_ticks=60)
    sizes = NetworkConfig((), state, 2, 5, 1, horizon=horizon, plan_vector_size=CODE)
    source = Batches(dataset, SPEC, config, sizes, [(0, 1)], norm, advice)
    return source.of_step(0, 0, size)


def test_the_newest_thought_is_of_this_episode(dataset: JoinedDataset, advice: Advice) -> None:
    start, _ = dataset.episode_bounds()
    rows = np.arange(len(start))
    then = advice.rows[advice.newest(rows)]
    assert ((start <= then) & (then <= rows) & (rows - then < EVERY)).all()


def test_slices_start_at_their_age_and_end_with_the_chunk(advice: Advice) -> None:
    rng = np.random.default_rng(0)
    thought, age = np.zeros(2000, int), np.arange(2000) % 20
    slices, reaches = advice.slices(thought, age, 4, rng)
    assert (reaches == (age + 4 <= CHUNK)).all()
    whole = advice._knots[0].repeat(2, axis=1)
    for n in np.flatnonzero(reaches)[:200]:
        assert any(np.array_equal(slices[n], c[age[n] : age[n] + 4]) for c in whole)
    assert not advice.slices(np.array([-1]), np.array([0]), 4, rng)[1].any()


def test_sources_are_the_planners_slices_where_phase_says_so(
    dataset: JoinedDataset, advice: Advice
) -> None:
    batch = drawn(dataset, advice, 400)
    use = batch.phase[:, 2].numpy() > 0
    assert 0.5 < use.mean() < 0.9, "dropped plans leave some out, old age hardly any"
    np.testing.assert_allclose(batch.phase[use, 1], batch.phase[use, 0])
    every = advice._knots.repeat(2, axis=2)
    age = np.rint(batch.phase[:, 1].numpy() * SPEC.control_rate_hz).astype(int)
    source = batch.source.numpy() * STD + MEAN
    for n in np.flatnonzero(use)[:40]:
        away = np.abs((every[:, :, age[n] : age[n] + 4] - source[n]) / STD).max((-1, -2))
        assert away.min() < 6 * CANDIDATE_NOISE


def test_codes_come_with_plans_only(dataset: JoinedDataset, advice: Advice) -> None:
    batch = drawn(dataset, advice, 400)
    coded, planned = batch.z.abs().sum(1) > 0, batch.plan.sum(1) > 0
    assert not (coded & ~planned).any()
    assert 0 < coded.float().mean() < planned.float().mean()
    known = set()
    for code in (advice.codes, *(coarser(advice.codes, levels) for levels in COARSER_LEVELS)):
        known |= {tuple(row) for row in code.round(5).tolist()}
    assert {tuple(row) for row in batch.z[coded].numpy().round(5).tolist()} <= known


def test_the_plan_told_is_the_planners_own(dataset: JoinedDataset, advice: Advice) -> None:
    assert set(advice.plans.tolist()) <= set(range(len(SPEC.plans)))
    wrong = copy.copy(advice)
    never = next(p for p in range(len(SPEC.plans)) if p not in dataset.plan)
    wrong.plans = np.full_like(advice.plans, never)
    told = drawn(dataset, wrong, 200).plan
    assert (told.argmax(1)[told.sum(1) > 0] == never).all()
    assert 0.6 < told.sum(1).mean() < 0.95, "some plans are dropped"


def test_a_code_of_another_size_is_refused(dataset: JoinedDataset, advice: Advice) -> None:
    sizes = NetworkConfig((), 8, 2, 5, 1, horizon=4, plan_vector_size=4)
    with pytest.raises(DualsysError, match="codes of 8 values, System 1 takes 4"):
        Batches(dataset, SPEC, BatchConfig(), sizes, [(0, 1)], None, advice)
