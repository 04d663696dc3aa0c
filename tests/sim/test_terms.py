from __future__ import annotations

import numpy as np
import pytest

from sim.driving.spec import SCENE_FIELDS
from sim.driving.terms import Terms, terms, time_to_collision_s

EQUAL = Terms(1.0, 1.0, 1.0, 1.0)
FAR = np.full(30, np.inf)


def drive(acceleration: np.ndarray, speed: float = 20.0, harmed: bool = False) -> Terms:
    return terms(np.full(30, speed), 20.0, acceleration, FAR, harmed, 15.0)


def test_driving_on_at_cruise_speed_is_perfect() -> None:
    assert drive(np.zeros(30)) == EQUAL
    assert drive(np.zeros(30)).score(EQUAL) == 1.0


def test_each_fault_costs_its_own_term() -> None:
    shaken = drive(np.where(np.arange(30) % 2, 1.0, -1.0))
    assert shaken.comfort == 0.0, "a jerk of 30 m/s3 is far beyond the bound"
    assert shaken.economy == pytest.approx(0.8)
    slow = drive(np.zeros(30), speed=5.0)
    assert slow.efficiency == pytest.approx(0.25)
    hard = drive(np.full(30, 5.0))
    assert (hard.economy, hard.comfort) == (0.0, 1.0)
    near = terms(np.full(4, 20.0), 20.0, np.zeros(4), np.array([9, 9, 0.5, 0.5]), False, 15.0)
    assert near.safety == pytest.approx(0.75)


def test_without_safety_nothing_else_counts() -> None:
    assert drive(np.zeros(30), harmed=True).score(EQUAL) == 0.0


def row(**values: float) -> np.ndarray:
    thing = {"present": 1.0, "width_m": 2.0, "length_m": 5.0, **values}
    return np.array([thing.get(name, 0.0) for name in SCENE_FIELDS], np.float32)


@pytest.mark.parametrize(
    ("things", "expected"),
    [
        ([], np.inf),
        ([row(ahead_m=25.0, ahead_mps=10.0)], 2.0),  # 25 m less two halves of 5 m, 10 m/s closing
        ([row(ahead_m=25.0, ahead_mps=25.0)], np.inf),  # it draws away
        ([row(ahead_m=20.0, left_m=5.0, ahead_mps=0.0)], np.inf),  # beside the way
        ([row(ahead_m=1.0)], 0.0),  # touching
        ([row(ahead_m=45.0, ahead_mps=0.0), row(ahead_m=25.0, ahead_mps=10.0)], 2.0),
        ([row(present=0.0, ahead_m=3.0)], np.inf),
        ([row(ahead_m=28.5, ahead_mps=10.0, length_m=12.0, width_m=2.5)], 2.0),  # a truck
        ([row(ahead_m=28.5, ahead_mps=10.0, length_m=12.0, heading_rad=np.pi / 2)], 2.5),  # across
        ([row(ahead_m=22.0, ahead_mps=10.0, length_m=0.5, width_m=1.0)], 1.9),  # a pedestrian
        ([row(left_m=7.0, ahead_mps=20.0, left_mps=-2.0)], 2.5),  # closing in from the side
        (
            [row(ahead_m=3.0, left_m=7.0, ahead_mps=20.0, left_mps=-2.0)],
            2.5,
        ),  # its tail to our nose
    ],
)
def test_time_to_collision(things: list[np.ndarray], expected: float) -> None:
    scene = np.array(things, np.float32).reshape(-1, len(SCENE_FIELDS))
    assert time_to_collision_s(scene, SCENE_FIELDS, 20.0) == pytest.approx(expected, rel=1e-5)
