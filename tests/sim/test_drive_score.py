from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import registry
from sim.driving.highway import _at_fault
from sim.driving.score import closed_loop_score, comfortable
from sim.driving.spec import SPEC

RATE = SPEC.control_rate_hz


def drive(**changed: np.ndarray) -> dict[str, np.ndarray]:
    """Ten seconds at cruise speed on a free road, with changes."""
    still = np.zeros(150)
    ticks = {
        "speed_mps": np.full(150, 20.0),
        "cruise_mps": np.full(150, 20.0),
        "heading_rad": still,
        "lane_error_rad": still,
        "offroad": still,
        "at_fault": still,
        "ttc_s": np.full(150, 10.0),
        "lost_s": still,
    }
    return ticks | changed


def test_a_faultless_drive_has_the_whole_score() -> None:
    assert closed_loop_score(drive(), RATE)["score"] == 1.0


@pytest.mark.parametrize("name", ["at_fault", "offroad"])
def test_a_factor_takes_everything(name: str) -> None:
    once = np.zeros(150)
    once[40] = 1.0
    assert closed_loop_score(drive(**{name: once}), RATE)["score"] == 0.0


def test_terms_weigh_as_nuplan_says() -> None:
    close = np.full(150, 10.0)
    close[7] = 0.9
    assert closed_loop_score(drive(ttc_s=close), RATE)["score"] == pytest.approx(11 / 16)
    half = closed_loop_score(drive(speed_mps=np.full(150, 10.0)), RATE)
    assert half["progress"] == pytest.approx(0.5)
    assert half["score"] == pytest.approx((2.5 + 5 + 4 + 2) / 16)
    fast = closed_loop_score(drive(speed_mps=np.full(150, 30.0)), RATE)
    assert fast["speed"] == 0.0
    assert closed_loop_score(drive(speed_mps=np.full(150, 3.0)), RATE)["score"] == 0.0


def test_a_drive_that_was_ended_by_others_is_not_a_whole_one() -> None:
    lost = np.zeros(150)
    lost[-1] = 30.0
    found = closed_loop_score(drive(lost_s=lost), RATE)
    assert found["progress"] == pytest.approx(0.25), "10 s of 40 s"
    lost[-1] = 90.0
    assert closed_loop_score(drive(lost_s=lost), RATE)["score"] == 0.0, "no progress to speak of"


def test_against_the_lane_is_the_wrong_way() -> None:
    turned = np.zeros(150)
    turned[:3] = np.pi
    found = closed_loop_score(drive(lane_error_rad=turned), RATE)
    assert found["direction"] == 0.5, "four metres"
    turned[:10] = np.pi
    assert closed_loop_score(drive(lane_error_rad=turned), RATE)["direction"] == 0.0


@given(st.floats(-8, 8))
def test_hard_acceleration_is_uncomfortable(rate: float) -> None:
    speed = 20.0 + rate * np.arange(60) / RATE
    kept = comfortable(speed, np.zeros(60), RATE)["longitudinal_mps2"]
    if rate < -4.06 or rate > 2.41:
        assert not kept
    elif -4.04 < rate < 2.39:
        assert kept


def test_a_curve_too_fast_is_uncomfortable() -> None:
    speed, heading = np.full(60, 20.0), 0.4 * np.arange(60) / RATE
    found = comfortable(speed, heading, RATE)
    assert not found["lateral_mps2"]
    assert found["yaw_rate_rps"]


class Body:
    def __init__(self, x: float, speed: float) -> None:
        self.position, self.speed = np.array([x, 0.5]), speed
        self.heading, self.crashed = 0.0, True


class Road:
    def __init__(self, *bodies: Body) -> None:
        self.vehicles, self.objects = list(bodies), []


def test_who_is_hit_from_behind_or_stands_is_not_at_fault() -> None:
    ego = Body(0.0, 10.0)
    assert _at_fault(ego, Road(ego, Body(5.0, 2.0)))
    assert not _at_fault(ego, Road(ego, Body(-5.0, 20.0)))
    assert _at_fault(ego, Road(ego, Body(-5.0, 5.0))), "backing into someone"
    assert not _at_fault(Body(0.0, 0.0), Road(Body(5.0, 10.0)))
    assert _at_fault(ego, Road(ego)), "a wall"


def test_a_world_tells_all_that_the_score_needs() -> None:
    world = registry.make("driving/merge")
    world.reset(seed=0)
    ticks: dict[str, list[float]] = {}
    for _ in range(20):
        *_, info = world.step(np.array([0.5, 0.0], np.float32))
        for name, value in info["metrics"].items():
            ticks.setdefault(name, []).append(value)
    world.close()
    found = closed_loop_score({n: np.array(v) for n, v in ticks.items()}, RATE)
    assert 0.5 < found["score"] <= 1.0
    assert found["drivable"] == found["direction"] == found["collision"] == 1.0


@pytest.mark.parametrize(("name", "whole_s"), [("highway", 40.0), ("merge", None)])
def test_a_collision_takes_the_rest_of_the_drive(name: str, whole_s: float | None) -> None:
    world = registry.make(f"driving/{name}")
    world.reset(seed=0)
    lost, info = [], {"collision": False}
    while not info["collision"]:
        *_, info = world.step(np.array([5.0, 0.0], np.float32))
        lost.append(info["metrics"]["lost_s"])
        assert len(lost) < 600, "nothing was hit"
    ego_m = float(world.upstream.vehicle.position[0])
    world.close()
    assert not any(lost[:-1])
    rest_s = whole_s - len(lost) / RATE if whole_s else (370.0 - ego_m) / 28.0
    assert lost[-1] == pytest.approx(rest_s, abs=0.1)
