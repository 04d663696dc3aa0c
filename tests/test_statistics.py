from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from dualsys.statistics import (
    bootstrap,
    bootstrap_by,
    holm,
    mcnemar,
    paired,
    random_signs,
    reduction,
    wilson,
)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_binomial_test_of_what_changed(gained: int, lost: int) -> None:
    wanted = binomtest(gained, gained + lost, 0.5).pvalue if gained + lost else 1.0
    assert mcnemar(gained, lost) == pytest.approx(wanted)


def test_a_clear_gain_is_shown_and_noise_is_not() -> None:
    rng = np.random.default_rng(0)
    luck = rng.random(200)
    weak, strong = luck < 0.5, luck < 0.7
    gain = paired(strong, weak)
    assert gain.mean == pytest.approx(0.2, abs=0.06)
    assert gain.excludes_zero
    assert gain.p < 1e-6
    assert gain.ci95[0] < gain.mean < gain.ci95[1]
    values = rng.normal(size=100)
    noise = paired(values + rng.normal(size=100), values + rng.normal(size=100))
    assert not noise.excludes_zero
    assert noise.p > 0.05
    sure = paired(values + 1 + 0.1 * rng.normal(size=100), values)
    assert sure.excludes_zero
    assert sure.p < 0.001


def test_no_difference_in_a_few_pairs_is_no_certainty() -> None:
    same = np.ones(200, bool)
    found = paired(same, same)
    assert found.mean == 0.0
    assert found.ci95 == pytest.approx((-0.0188, 0.0188), abs=1e-4)
    assert not found.excludes_zero
    assert paired(same[:5], same[:5]).ci95[1] > 0.4
    # Of measures nothing is known beyond what was seen.
    assert paired(np.ones(200), np.ones(200)).ci95 == (0.0, 0.0)


def test_an_interval_over_clusters_is_that_of_their_means() -> None:
    rng = np.random.default_rng(0)
    means = rng.normal(size=40)
    cluster = np.arange(40).repeat(10)
    alike = bootstrap_by(cluster, means.repeat(10))
    np.testing.assert_allclose(alike, bootstrap(means), atol=0.05)
    # Each value a cluster of its own: nothing is left of the clusters.
    free = rng.normal(size=400)
    np.testing.assert_allclose(bootstrap_by(np.arange(400), free), bootstrap(free), atol=0.02)
    # Clusters count by their size, in any order.
    uneven = np.array([1.0, 0.0, 1.0, 1.0])
    low, high = bootstrap_by(np.array(["a", "b", "a", "a"]), uneven)
    assert (low, high) == (0.0, 1.0)
    assert np.isnan(bootstrap_by(np.zeros(4), uneven)).all()
    heavy = np.array([3.0, 1.0, 0.0, 0.0])
    low, high = bootstrap_by(np.array(["a", "b", "a", "b"]), np.array([1.0, 0.0, 9.0, 9.0]), heavy)
    assert (low, high) == (0.0, 1.0), "of weight 0 nothing is seen"
    assert np.isnan(bootstrap_by(np.zeros(0), np.zeros(0))).all()


def test_nothing_to_compare_is_no_difference() -> None:
    nothing = paired(np.zeros(0, bool), np.zeros(0, bool))
    assert (nothing.pairs, nothing.excludes_zero, nothing.p) == (0, False, 1.0)
    with pytest.raises(ValueError, match="equal shapes"):
        paired(np.zeros(2), np.zeros(3))


def test_fewer_events_are_told_as_a_share_of_those_before() -> None:
    before = np.arange(200) % 2 == 0
    after = np.arange(200) % 4 == 0  # every second of them, and no new one
    share, interval = reduction(after, before)
    assert share == pytest.approx(0.5)
    assert interval is not None
    assert 0.35 < interval[0] < 0.45
    assert 0.55 < interval[1] < 0.65
    assert reduction(before, before) == (0.0, (0.0, 0.0))
    share, _ = reduction(before, after)
    assert share == pytest.approx(-1.0), "twice as many"


def test_a_share_of_next_to_nothing_has_no_interval() -> None:
    once = np.arange(50) == 0
    assert reduction(np.zeros(50, bool), once) == (1.0, None)
    with pytest.raises(ValueError, match="share of no events"):
        reduction(once, np.zeros(50, bool))


def test_holm_corrects_the_smallest_most() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_clear_effect_is_left_after_correction_over_many_comparisons() -> None:
    rng = np.random.default_rng(0)
    clear = 0.1 + 0.2 * rng.normal(size=135)  # five standard errors
    p = random_signs(clear)
    assert p == random_signs(clear), "equal differences, equal p"
    assert holm([p, *rng.uniform(0.05, 1.0, 199)])[0] < 0.01


def test_random_signs_are_the_binomial_test_where_all_differences_are_of_one_size() -> None:
    for gained, lost in ((6, 4), (15, 5), (21, 4), (30, 6)):
        away = np.array([1.0] * gained + [-1.0] * lost)
        assert 0.5 < random_signs(away) / mcnemar(gained, lost) < 2
    assert random_signs(np.zeros(20)) == 1.0


@pytest.mark.parametrize(("hits", "count"), [(0, 20), (7, 20), (20, 20), (190, 200)])
def test_the_wilson_interval_is_the_one_of_scipy(hits: int, count: int) -> None:
    theirs = binomtest(hits, count).proportion_ci(method="wilson")
    assert wilson(hits, count) == pytest.approx([theirs.low, theirs.high], abs=1e-9)


@given(st.integers(0, 100), st.integers(1, 100))
def test_a_rate_lies_in_its_interval(hits: int, count: int) -> None:
    hits = min(hits, count)
    low, high = wilson(hits, count)
    assert 0 <= low <= hits / count <= high <= 1


def test_the_bootstrap_covers_the_mean_it_should() -> None:
    rng = np.random.default_rng(1)
    covered = [low < 0 < high for low, high in (bootstrap(rng.normal(size=60)) for _ in range(100))]
    assert np.mean(covered) > 0.88
