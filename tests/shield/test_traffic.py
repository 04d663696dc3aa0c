from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.limits import RssLimit
from dualsys.shield.rss import most_acceleration, travel
from dualsys.shield.traffic import FIELDS, Traffic, curvature, steering_for
from dualsys.spec import WorldSpec
from tests import fakes

RSS = RssLimit(
    response_s=0.5,
    accelerate=2.0,
    brake=5.0,
    others_brake=6.0,
    sideways_accelerate=0.2,
    sideways_brake=0.8,
    sideways_margin_m=0.3,
    standing_gap_m=1.0,
    length_m=5.0,
    width_m=2.0,
)
SPEC: WorldSpec = msgspec.structs.replace(fakes.SPEC, scene_fields=(*FIELDS[1:], "more", "present"))
FREE = (math.inf, -math.inf, math.inf)
AXLE = 2.5


def row(**fields: float) -> list[float]:
    known = {"present": 1.0, "length_m": 5.0, "width_m": 2.0, **fields}
    return [known.get(name, 0.0) for name in SPEC.scene_fields]


def bounds(
    *rows: list[float], speed: float = 20.0, drift: float = 0.0, steering: float = 0.0
) -> Any:
    scene = np.array(rows or [row(present=0.0)], np.float32)
    return Traffic(SPEC, RSS, AXLE).bounds(speed, drift, steering, 0.1, scene)


def test_nobody_there_leaves_every_command() -> None:
    assert bounds() == FREE
    assert bounds(row(present=0.0, ahead_m=6.0)) == FREE


def test_behind_a_leader_the_rule_says_how_much_acceleration_is_left() -> None:
    most, *steering = bounds(row(ahead_m=45.0, ahead_mps=18.0))
    free = 45 - 5 - 1 + 18**2 / 12
    assert most == pytest.approx(most_acceleration(20, free, 0.5, 5))
    assert steering == [-math.inf, math.inf]


def test_the_nearest_of_several_decides() -> None:
    near, far = row(ahead_m=30.0, ahead_mps=18.0), row(ahead_m=60.0, ahead_mps=18.0)
    assert bounds(far, near) == bounds(near) == bounds(near, far)
    assert bounds(near)[0] < bounds(far)[0]


def test_who_comes_towards_the_ego_is_given_the_road_that_he_needs_to_stop() -> None:
    most, *_ = bounds(row(ahead_m=90.0, ahead_mps=-10.0, heading_rad=math.pi))
    free = 90 - 5 - 1 - travel(10, 0.5, 2, 6)
    assert most == pytest.approx(most_acceleration(20, free, 0.5, 5))


def test_the_next_lane_is_not_in_the_way_until_somebody_comes_over() -> None:
    assert bounds(row(ahead_m=20.0, left_m=4.0)) == FREE
    assert bounds(row(ahead_m=20.0, left_m=4.0, left_mps=1.0)) == FREE
    coming = bounds(row(ahead_m=20.0, left_m=4.0, left_mps=-2.0, ahead_mps=10.0))
    assert coming[0] < 0
    assert bounds(row(ahead_m=20.0, left_m=-4.0, left_mps=2.0, ahead_mps=10.0)) == coming


def test_who_crosses_brakes_along_his_own_way() -> None:
    """Turned across the road he stops with his brakes, not by drifting: less room is needed."""
    crossing = row(ahead_m=20.0, left_m=20.0, left_mps=-8.0, heading_rad=-math.pi / 2)
    drifting = row(ahead_m=20.0, left_m=20.0, left_mps=-8.0)
    assert bounds(crossing) == FREE
    assert bounds(drifting)[0] < 0


def test_a_body_turned_across_the_road_is_as_wide_as_it_is_long() -> None:
    assert bounds(row(ahead_m=20.0, left_m=3.2)) == FREE
    turned = bounds(row(ahead_m=20.0, left_m=3.2, heading_rad=math.pi / 2), speed=8.0)
    assert turned[0] == pytest.approx(most_acceleration(8, 20 - 3.5 - 1, 0.5, 5))
    askew = bounds(row(ahead_m=20.0, heading_rad=math.pi / 4), speed=8.0)
    half = ((5 + 2) * math.sqrt(0.5) + 5) / 2
    assert askew[0] == pytest.approx(most_acceleration(8, 20 - half - 1, 0.5, 5))


@pytest.mark.parametrize("speed", [0.0, 0.5, 3.0])
def test_who_is_slow_ahead_still_has_his_way_to_stop(speed: float) -> None:
    most, *_ = bounds(row(ahead_m=30.0, ahead_mps=speed), speed=10.0)
    assert most == pytest.approx(most_acceleration(10, 30 - 5 - 1 + speed**2 / 12, 0.5, 5))


def test_how_much_room_beside_is_enough_to_a_decimetre() -> None:
    """Somebody askew brakes partly along his way; the ego's own drift counts once beside him."""
    own = travel(0, 0.5, 0.2, 0.8)
    brake = math.sqrt(0.5) * (0.8 + 5)
    half = ((5 + 2) * math.sqrt(0.5) + 2) / 2
    room = 0.3 + own + travel(6, 0.5, 0.2, brake)
    for more, free in ((0.05, True), (-0.05, False)):
        coming = row(ahead_m=20.0, left_m=half + room + more, left_mps=-6.0,
                     heading_rad=-math.pi / 4)  # fmt: skip
        assert (bounds(coming) == FREE) == free
    for side in (1, -1):
        room = 0.3 + own + travel(0.1, 0.5, 0.2, 0.8)
        for more, free in ((0.01, True), (-0.01, False)):
            beside = row(ahead_m=-2.0, left_m=side * (2 + room + more))
            assert (bounds(beside, drift=side * 0.1) == FREE) == free


@pytest.mark.parametrize("ahead", [20.0, 5.5])
def test_drift_is_no_matter_before_one_is_beside(ahead: float) -> None:
    assert bounds(row(ahead_m=ahead, left_m=2.6), drift=0.5) == FREE


def test_touching_bumpers_are_beside() -> None:
    most, left, _ = bounds(row(ahead_m=5.0, left_m=2.1))
    assert (most, left) == (math.inf, 0.1)


@pytest.mark.parametrize(("side", "free"), [(0.5, 0), (-0.5, 1)])
def test_who_overlaps_is_on_the_side_of_his_middle(side: float, free: int) -> None:
    assert bounds(row(left_m=side))[1 + free] == 0.1
    assert math.isinf(bounds(row(left_m=side))[2 - free])


def test_the_bend_begins_at_the_ego_and_grows_with_the_square() -> None:
    sharp, wide = steering_for(0.3, AXLE), steering_for(1 / 50, AXLE)
    assert bounds(row(ahead_m=-1.0, left_m=-2.45), steering=sharp) == FREE
    assert bounds(row(ahead_m=20.0, left_m=-6.3), steering=wide)[0] < math.inf
    assert bounds(row(ahead_m=20.0, left_m=-6.5), steering=wide) == FREE


def test_the_path_bends_with_the_steering() -> None:
    """At 20 m a path of curvature 1/50 is 4 m to the right: there the leader is, or is not."""
    bend = steering_for(1 / 50, AXLE)
    ahead, beside = row(ahead_m=20.0), row(ahead_m=20.0, left_m=-4.0)
    assert bounds(ahead)[0] < 0
    assert bounds(ahead, steering=bend) == FREE
    assert bounds(beside) == FREE
    # He stands askew to the path there, but that is left out of account.
    assert bounds(beside, steering=bend) == bounds(ahead)


def test_who_moves_along_the_bend_does_not_come_over() -> None:
    bend = steering_for(1 / 50, AXLE)
    along = row(ahead_m=20.0, left_m=-8.0, ahead_mps=10.0, left_mps=-10.0 * 20 / 50)
    assert bounds(along, steering=bend) == FREE
    straight = row(ahead_m=20.0, left_m=-8.0, ahead_mps=10.0)
    assert bounds(straight, steering=bend)[0] < math.inf


def test_beyond_its_turning_circle_the_path_leads_nowhere() -> None:
    bend = steering_for(1 / 10, AXLE)
    assert bounds(row(ahead_m=10.1, left_m=-5.0), steering=bend) == FREE
    assert bounds(row(ahead_m=9.9, left_m=-4.9), steering=bend)[0] == -5


@pytest.mark.parametrize("side", [1, -1])
def test_beside_somebody_the_wheel_is_not_turned_further_towards_him(side: int) -> None:
    most, left, right = bounds(row(ahead_m=1.0, left_m=side * 2.2))
    assert most == math.inf
    assert (left, right) == ((0.1, math.inf) if side > 0 else (-math.inf, 0.1))


def test_who_drifts_towards_the_one_beside_has_to_steer_away() -> None:
    near = row(ahead_m=-2.0, left_m=2.6)
    assert bounds(near) == FREE  # 0.6 m are enough for who keeps his lane
    away = steering_for(0.8 / 400, AXLE)
    assert bounds(near, drift=0.5) == (math.inf, pytest.approx(0.1 + away), math.inf)
    assert bounds(row(ahead_m=-2.0, left_m=-2.6), drift=0.5) == FREE
    other = bounds(row(ahead_m=-2.0, left_m=-2.6), drift=-0.5)
    assert other == (math.inf, -math.inf, pytest.approx(0.1 - away))
    slow = bounds(near, drift=1.5, speed=0.2)
    assert slow[1] == pytest.approx(0.1 + steering_for(0.5 / AXLE, AXLE))


def test_between_two_the_wheel_stays_in_order() -> None:
    _, left, right = bounds(row(left_m=2.1), row(left_m=-2.1), drift=0.3)
    assert left <= right


def test_who_is_past_is_left_alone() -> None:
    assert bounds(row(ahead_m=-5.1)) == FREE
    assert bounds(row(ahead_m=-4.9, left_m=2.1)) != FREE


def test_standing_still_or_rolling_back_one_may_go_where_there_is_room() -> None:
    room = row(ahead_m=16.0)
    assert bounds(room, speed=0.0)[0] == pytest.approx(most_acceleration(0, 10, 0.5, 5))
    assert bounds(room, speed=-1.0) == bounds(room, speed=0.0)
    assert bounds(row(ahead_m=5.5), speed=0.0)[0] == -5


@given(st.lists(st.floats(allow_nan=True, width=32), min_size=9, max_size=9))
def test_whatever_the_scene_holds_the_bounds_are_numbers_in_order(fields: list[float]) -> None:
    with np.errstate(all="ignore"):
        most, left, right = bounds(fields)
    assert not math.isnan(most)
    assert most >= -5
    assert left <= right


def test_a_row_that_is_not_finite_hides_no_other() -> None:
    bad, near = row(ahead_m=math.nan), row(ahead_m=30.0, ahead_mps=18.0)
    assert bounds(bad) == FREE
    assert bounds(bad, near) == bounds(near)


@given(st.floats(-0.78, 0.78))
def test_curvature_and_steering_are_each_other_s_inverse(steering: float) -> None:
    bend = curvature(steering, AXLE)
    assert steering_for(bend, AXLE) == pytest.approx(steering, abs=1e-9)
    assert bend == pytest.approx(math.sin(math.atan(math.tan(steering) / 2)) / AXLE)
