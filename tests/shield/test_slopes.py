from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.shield.slopes import smooth, steepest, stepwise

STEPS = st.floats(1e-3, 10)


@given(st.floats(0, 1e4), STEPS)
def test_the_steepest_slope_uses_the_distance_up_and_no_more(distance: float, step: float) -> None:
    slope, gone = steepest(distance, step), 0.0
    while slope > 0:
        gone, slope = gone + slope, slope - step
    assert gone == pytest.approx(distance, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("distance", "step", "slope"),
    [(6.0, 1.0, 3.0), (0.5, 1.0, 0.5), (2.0, 1.0, 1.5), (-0.7, 1.0, -0.7), (0.0, 1.0, 0.0)],
)
def test_some_slopes_by_hand(distance: float, step: float, slope: float) -> None:
    """3 + 2 + 1 = 6, and 1.5 + 0.5 = 2; what is beyond its end goes back at once."""
    assert steepest(distance, step) == pytest.approx(slope)


@pytest.mark.parametrize("distance", [-1.0, 0.0, 0.3, 8.0, math.inf])
def test_without_a_limit_on_steps_the_whole_distance_may_be_gone_at_once(distance: float) -> None:
    assert steepest(distance, math.inf) == distance


def test_without_an_end_no_slope_is_too_steep() -> None:
    assert steepest(math.inf, 0.5) == math.inf


@given(st.floats(-5, 5), st.floats(-50, 50), STEPS)
def test_a_step_is_no_longer_than_allowed_and_goes_where_it_is_wanted(
    last: float, wanted: float, step: float
) -> None:
    here = stepwise(last, wanted, step)
    assert abs(here - last) <= step + 1e-9
    if abs(wanted - last) <= step:
        assert here == pytest.approx(wanted, abs=1e-12)


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=60), st.floats(0.01, 0.5))
def test_a_smooth_line_keeps_its_box_and_its_steps_whatever_is_wanted(
    wishes: list[float], step: float
) -> None:
    before = last = 0.0
    for wish in wishes:
        here = smooth(last, before, wish, step, -1.0, 1.0)
        assert abs((here - last) - (last - before)) <= step + 1e-9
        assert -1 - 1e-9 <= here <= 1 + 1e-9
        last, before = here, last


def test_a_smooth_line_arrives_and_stays() -> None:
    before = last = 0.0
    for _ in range(40):
        last, before = smooth(last, before, 0.8, 0.05, -1.0, 1.0), last
        assert last <= 0.8 + 1e-9
    assert last == pytest.approx(0.8)
    for end in (-1.0, 1.0):
        before = last = 0.0
        for _ in range(40):
            last, before = smooth(last, before, 9 * end, 0.05, -1.0, 1.0), last
        assert last == pytest.approx(end)
