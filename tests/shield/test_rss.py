from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.shield.rss import (
    distance_behind,
    distance_beside,
    distance_opposite,
    most_acceleration,
    travel,
)

SPEEDS = st.floats(0, 50)


def test_the_distance_behind_is_the_published_one() -> None:
    """20 + 1.75 + 23.5^2 / 8 - 15^2 / 16 metres."""
    assert distance_behind(20, 15, 1, 3.5, 4, 8) == pytest.approx(76.719, abs=5e-4)


def test_some_distances_by_hand() -> None:
    # Both speed up by 1 for a second (10.5 and 5.5 m), then brake from 11 with 2 and from 6 with 4.
    assert distance_opposite(10, 5, 1, 1, 2, 4) == pytest.approx(10.5 + 30.25 + 5.5 + 4.5)
    # Towards each other at 1 and 0.5 across the road, no more speed, brakes of 1 and 0.5.
    assert distance_beside(1, 0.5, 1, 0, 1, 0.5) == pytest.approx(1 + 0.5 + 0.5 + 0.25)
    assert distance_behind(0, 20, 1, 0, 4, 8) == 0
    assert distance_behind(10, 0, 0.5, 2, 5, 8) == pytest.approx(5.25 + 121 / 10)


def test_who_moves_away_gives_room_and_none_is_needed_beyond_all_of_it() -> None:
    beside = [distance_beside(1, away, 0.2, 0.1, 1, 1) for away in (1, 0, -0.5, -3)]
    assert beside == sorted(beside, reverse=True)
    assert beside[-1] == 0
    assert travel(-2, 0, 0, 1) == -2


@given(SPEEDS, st.floats(0, 200), st.floats(0.05, 2), st.floats(1, 10))
def test_the_most_acceleration_uses_the_free_distance_up(
    speed: float, free: float, response: float, brake: float
) -> None:
    most = most_acceleration(speed, free, response, brake)
    assert most >= -brake
    if most > -brake:
        assert travel(speed, response, most, brake) == pytest.approx(free, rel=1e-6, abs=1e-6)
    else:
        assert travel(speed, response, -brake, brake) >= free - 1e-6 or speed < brake * response


@given(SPEEDS, SPEEDS, st.floats(0.1, 5), st.floats(0, 80))
def test_who_keeps_to_it_never_runs_into_the_one_ahead(
    rear: float, front: float, hard: float, spare: float
) -> None:
    """The one ahead brakes as hard as promised at any time; the one behind does what it may."""
    tick, brake, others = 0.1, 5.0, 6.0
    gap = max(0.0, rear**2 / (2 * brake) - front**2 / (2 * others)) + spare + 1e-6
    for _ in range(300):
        most = most_acceleration(rear, gap + front**2 / (2 * others), tick, brake)
        (front, ahead), (rear, gone) = _moved(front, -hard, tick), _moved(rear, min(3, most), tick)
        gap += ahead - gone
        assert gap >= -1e-6


def _moved(speed: float, acceleration: float, time: float) -> tuple[float, float]:
    """Speed after a time, and how far one got; who brakes comes to rest and stays."""
    after = speed + acceleration * time
    if after < 0:
        return 0.0, speed**2 / (2 * -acceleration)
    return after, (speed + after) / 2 * time


def test_what_is_too_near_is_braked_for_with_all_there_is() -> None:
    assert most_acceleration(10, -1, 0.2, 5) == -5
    assert most_acceleration(10, 9.9, 0.2, 5) == pytest.approx(-5)
    assert most_acceleration(0, 0, 0.2, 5) == 0
