from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from dualsys.limits import AxisLimit, PlantLimits
from dualsys.shield.rss import most_acceleration
from dualsys.shield.stages import (
    Box,
    Distance,
    Gradual,
    Lateral,
    Motion,
    Reduced,
    Smooth,
    Stage,
    Workspace,
    rates_per_tick,
    stages,
)
from dualsys.shield.traffic import FIELDS
from tests import fakes
from tests.shield.plants import CAR, SLED

NOBODY = np.zeros((1, len(FIELDS)), np.float32)


def motion(last: Any = (0, 0), before: Any = (0, 0), state: Any = None, **more: Any) -> Motion:
    known = None if state is None else np.array(state, float)
    scene = more.pop("scene", NOBODY)
    return Motion(np.array(last, float), np.array(before, float), known, scene, **more)


def limited(stage: Stage, wanted: Any, where: Motion) -> Any:
    asked = np.array(wanted, float)
    told = stage(asked, where).tolist()
    assert asked.tolist() == [float(value) for value in wanted]  # what was asked stays as it was
    return told


def test_every_limit_of_a_plant_is_applied_and_the_strictest_last() -> None:
    names = [name for name, _ in stages(CAR, ())]
    assert names == [
        "reduced", "rate_change_limit", "distance", "workspace", "lateral_acceleration",
        "rate_limit", "position_limit",
    ]  # fmt: skip
    assert [name for name, _ in stages(SLED, ())] == [
        "reduced", "rate_change_limit", "workspace", "rate_limit", "position_limit",
    ]  # fmt: skip
    assert [name for name, _ in stages(fakes.SPEC, ())] == ["position_limit"]


@pytest.mark.parametrize(
    ("off", "gone"),
    [
        ("rate", {"rate_change_limit", "rate_limit"}),
        ("rss", {"distance"}),
        ("workspace", {"workspace"}),
        ("lateral", {"lateral_acceleration"}),
    ],
)
def test_what_is_switched_off_is_left_out(off: str, gone: set[str]) -> None:
    every, left = ({name for name, _ in stages(CAR, without)} for without in ((), (off,)))
    assert every - left == gone


def test_rates_are_counted_per_tick() -> None:
    axes = (AxisLimit(rate=8.0), AxisLimit())
    np.testing.assert_allclose(rates_per_tick(axes, 20.0), [0.4, math.inf])


def test_the_box_clips_each_axis() -> None:
    assert limited(Box(CAR), [9, -9], motion()) == pytest.approx([5, -0.8])
    assert limited(Box(CAR), [-9, 0.1], motion()) == pytest.approx([-5, 0.1])


def test_the_smaller_box_holds_only_while_it_is_in_force() -> None:
    stage = Reduced(SLED.limits)
    assert limited(stage, [0.9, 0.9], motion()) == [0.9, 0.9]
    assert limited(stage, [0.9, 0.9], motion(reduced=True)) == [0.25, 0.9]
    assert limited(stage, [-0.9, -0.9], motion(reduced=True)) == [-0.5, -0.9]


def test_a_command_changes_by_no_more_than_its_rate() -> None:
    stage, where = Gradual(SLED, SLED.limits), motion(last=(0.2, -0.3))
    assert limited(stage, [1, 1], where) == pytest.approx([0.6, 0.2])
    assert limited(stage, [-1, -1], where) == pytest.approx([-0.2, -0.8])
    assert limited(stage, [0.5, 0.1], where) == pytest.approx([0.5, 0.1])


def test_a_change_changes_by_no_more_than_its_rate_where_one_is_given() -> None:
    stage = Smooth(SLED, SLED.limits)
    assert limited(stage, [1, 1], motion()) == pytest.approx([0.15, 1])
    assert limited(stage, [1, 1], motion(last=(0.3, 0), before=(0.1, 0)))[0] == 0.3 + 0.35
    # At 0.9 the box's end is near: rising by 0.1 is all that can still be stopped with 0.15.
    assert limited(stage, [1, 1], motion(last=(0.9, 0), before=(0.6, 0)))[0] == pytest.approx(1.0)
    falling = motion(last=(-0.9, 0), before=(-0.6, 0))
    assert limited(stage, [-1, 1], falling)[0] == pytest.approx(-1.0)


def test_towards_an_end_of_the_workspace_one_goes_as_fast_as_one_can_stop() -> None:
    """0.05 m per tick and unit; steps of 0.4: a metre is 20 units' ticks away, 3.8 + 3.4 + ..."""
    stage = Workspace(SLED, SLED.limits)
    assert limited(stage, [9, 9], motion(state=(0, 0))) == pytest.approx([3.8, 9])
    assert limited(stage, [9, 9], motion(state=(0.98, 0))) == pytest.approx([0.4, 9])
    assert limited(stage, [9, 9], motion(state=(1.0, 0))) == [0, 9]
    assert limited(stage, [9, 9], motion(state=(1.01, 0))) == pytest.approx([-0.2, 9])
    assert limited(stage, [-9, -9], motion(state=(-1.5, 0))) == [0, -9]
    assert limited(stage, [-9, -9], motion(state=(-1.49, 0))) == pytest.approx([-0.2, -9])
    assert limited(stage, [-9, 9], motion()) == [-9, 9]  # nothing is known
    assert limited(stage, [0.3, 9], motion(state=(0, 0))) == [0.3, 9]


def test_a_command_that_moves_backwards_stops_at_the_other_end() -> None:
    axis = AxisLimit(moves="x", gain=-0.05, low=-1.5, high=1.0)
    stage = Workspace(SLED, PlantLimits(axes=(axis, AxisLimit())))
    assert limited(stage, [9, 9], motion(state=(-1.5, 0))) == [0, 9]
    assert limited(stage, [-9, 9], motion(state=(1.0, 0))) == [0, 9]
    assert limited(stage, [-9, 9], motion(state=(-1.5, 0))) == [-9, 9]


@pytest.mark.parametrize(("low", "high"), [(None, 1.0), (-1.5, None)])
def test_an_end_that_is_not_given_is_none(low: float | None, high: float | None) -> None:
    axis = AxisLimit(moves="x", gain=0.05, low=low, high=high)
    stage = Workspace(SLED, PlantLimits(axes=(axis, AxisLimit())))
    assert limited(stage, [-99, 0], motion(state=(0, 0)))[0] == (-99 if low is None else -30)
    assert limited(stage, [99, 0], motion(state=(0, 0)))[0] == (99 if high is None else 20)


def test_the_faster_the_less_steering() -> None:
    stage = Lateral(CAR, 8.0, 2.5)
    for speed in (10.0, 25.0, -25.0):
        steering = limited(stage, [1, 0.7], motion(state=(speed, 0)))[1]
        assert speed**2 * math.sin(math.atan(math.tan(steering) / 2)) / 2.5 == pytest.approx(8)
        assert limited(stage, [1, -0.7], motion(state=(speed, 0)))[1] == -steering
    assert limited(stage, [1, 0.7], motion(state=(0, 0))) == [1, 0.7]
    assert limited(Lateral(CAR, 0.2, 2.5), [1, 0.7], motion(state=(0.5, 0))) == [1, 0.7]
    assert limited(stage, [1, 0.01], motion(state=(10, 0))) == [1, 0.01]
    assert limited(stage, [1, 0.7], motion()) == [1, 0.7]  # nothing is known


def test_the_distance_to_others_bounds_acceleration_and_steering() -> None:
    stage = Distance(CAR, CAR.limits, CAR.limits.rss)
    fields = dict.fromkeys(FIELDS, 0.0) | {"present": 1.0, "length_m": 5.0, "width_m": 2.0}

    def scene(**values: float) -> np.ndarray:
        return np.array([list((fields | values).values())], np.float32)

    ahead = motion(state=(20, 0), scene=scene(ahead_m=42, ahead_mps=10))
    most = most_acceleration(20, 42 - 5 - 1 + 100 / 12, 0.2, 5)
    assert limited(stage, [3, 0], ahead) == pytest.approx([most, 0])
    assert limited(stage, [-5, 0], ahead) == [-5, 0]
    assert limited(stage, [3, 0], motion(scene=ahead.scene)) == [3, 0]  # nothing is known
    beside = scene(left_m=2.2)
    assert limited(stage, [3, -0.2], motion(last=(0, 0.1), state=(20, 0), scene=beside)) == [3, 0.1]
    assert limited(stage, [3, 0.2], motion(last=(0, 0.1), state=(20, 0), scene=beside)) == [3, 0.2]
    beside = scene(left_m=-2.2)
    assert limited(stage, [3, 0.2], motion(last=(0, 0.1), state=(20, 0), scene=beside)) == [3, 0.1]
    # Pointing left by 0.1 at 20 m/s is a drift of 2 m/s towards the one on the left.
    drifting = motion(state=(20, -0.1), scene=scene(left_m=3.5))
    assert limited(stage, [3, 0], drifting)[1] > 0
    assert limited(stage, [3, 0], motion(state=(20, 0.1), scene=scene(left_m=3.5))) == [3, 0]


def test_a_limit_of_a_plant_without_numbers_limits_nothing() -> None:
    bare = msgspec.structs.replace(SLED, limits=PlantLimits(axes=(AxisLimit(), AxisLimit())))
    for name, stage in stages(bare, ())[:-1]:
        where = motion(state=(1.9, 1.9), reduced=True)
        assert limited(stage, [9, -9], where) == [9, -9], name
