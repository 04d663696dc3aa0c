from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.clock import RateKeeper, StallDetector, VirtualClock, sleep_until


@given(st.lists(st.integers(0, 350), min_size=1, max_size=50))
def test_deadlines_stay_on_the_grid_and_skipped_ones_are_counted(delays: list[int]) -> None:
    keeper, now = RateKeeper(period_ns=100, start_ns=0), 0
    for served, delay in enumerate(delays, start=1):
        deadline, _ = keeper.advance(now)
        assert deadline % 100 == 0
        assert deadline > now - 100
        now = max(now, deadline) + delay
        assert deadline == 100 * (served + keeper.skipped)


def test_a_period_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        RateKeeper(0, 0)


def test_virtual_time_does_not_go_back() -> None:
    clock = VirtualClock(5)
    clock.advance_to(7)
    assert clock.now_ns() == 7
    with pytest.raises(ValueError, match="go back"):
        clock.advance_to(6)


def test_a_deadline_in_the_past_is_not_waited_for() -> None:
    sleep_until(5, VirtualClock(6))


def test_only_gaps_over_the_threshold_are_stalls() -> None:
    detector = StallDetector(VirtualClock(), threshold_ns=100)
    detector.observe(0, 100)
    detector.observe(1000, 1200)
    assert detector.intervals == [(1000, 1200)]
    assert detector.overlaps(1100, 1300)
    assert not detector.overlaps(0, 1000)
