from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.errors import DualsysError
from dualsys.trigger.calibrate import (
    auroc,
    auroc_interval,
    calls_per_tick,
    conformal_threshold,
    coverage,
    reliability,
    scale_correction,
)
from dualsys.trigger.rules import UncertaintyTrigger


def test_auroc_is_one_for_a_perfect_score_and_half_for_none() -> None:
    bad = np.array([False] * 50 + [True] * 10)
    assert auroc(np.arange(60.0), bad) == 1.0
    assert auroc(-np.arange(60.0), bad) == 0.0
    assert auroc(np.zeros(60), bad) == 0.5
    assert np.isnan(auroc(np.arange(5.0), np.zeros(5, bool)))


def test_auroc_is_the_share_of_ordered_pairs() -> None:
    rng = np.random.default_rng(0)
    score, bad = rng.integers(0, 5, 40).astype(float), rng.random(40) < 0.3
    pairs = score[bad][:, None] - score[~bad][None]
    wanted = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    assert auroc(score, bad) == pytest.approx(wanted)


def test_the_interval_of_noise_holds_a_half() -> None:
    rng = np.random.default_rng(1)
    scores = [rng.normal(size=30) for _ in range(40)]
    bads = [rng.random(30) < 0.2 for _ in range(40)]
    low, high = auroc_interval(scores, bads)
    assert low < 0.5 < high
    assert high - low < 0.2
    assert np.isnan(auroc_interval([np.zeros(3)], [np.zeros(3, bool)])[0])


@given(st.floats(0.02, 0.5), st.integers(0, 50))
def test_a_conformal_threshold_keeps_to_its_rate_on_average(rate: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    exceeded = []
    for _ in range(60):
        threshold = conformal_threshold(rng.normal(size=100), rate)
        exceeded.append((rng.normal(size=200) > threshold).mean())
    assert np.mean(exceeded) <= rate + 0.02
    assert np.mean(exceeded) >= rate - 0.03


def test_too_few_ticks_can_not_promise_a_low_rate() -> None:
    with pytest.raises(DualsysError, match="100 are needed"):
        conformal_threshold(np.arange(50.0), 0.01)
    with pytest.raises(DualsysError, match="between 0 and 1"):
        conformal_threshold(np.arange(50.0), 1.0)


def test_calls_are_fewer_than_ticks_above_the_threshold() -> None:
    unsure = np.array([0.0] * 4 + [2.0] * 12 + [0.9, 0.0, 2.0, 0.0])
    episodes = [(np.arange(20), unsure), (np.arange(20), np.zeros(20))]
    assert calls_per_tick(episodes, UncertaintyTrigger(1.0, 0.0, 1, None)) == 13 / 40
    assert calls_per_tick(episodes, UncertaintyTrigger(1.0, 0.2, 1, None)) == 14 / 40
    assert calls_per_tick(episodes, UncertaintyTrigger(1.0, 0.2, 5, None)) == 3 / 40
    twice = [(np.arange(20), np.full(20, 2.0))] * 2
    assert calls_per_tick(twice, UncertaintyTrigger(1.0, 0.0, 20, None)) == 2 / 40


def test_reliability_bins_are_filled_alike_and_sorted() -> None:
    values = np.random.default_rng(0).permutation(100).astype(float)
    bins = reliability(values, values >= 80)
    assert [b.ticks for b in bins] == [10] * 10
    assert [b.failing for b in bins] == [0.0] * 8 + [1.0] * 2
    assert bins[0].uncertainty == pytest.approx(4.5)


def test_laplace_intervals_cover_what_they_say() -> None:
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.1, 3.0, 40000)
    error = rng.laplace(0, scale)
    for level, share in coverage(error, scale, (0.5, 0.8, 0.95)):
        assert share == pytest.approx(level, abs=0.01)
    assert scale_correction(2 * error, scale) == pytest.approx(2.0, rel=0.05)
    corrected = coverage(2 * error, scale * scale_correction(2 * error, scale), (0.9,))
    assert corrected[0][1] == pytest.approx(0.9, abs=0.001)
