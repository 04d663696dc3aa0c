"""The faster road changes no result: equal trajectories, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from highway_env.road.regulation import RegulatedRoad
from highway_env.road.road import Road

from sim import registry
from sim.driving import fast_road
from sim.driving.highway import HighwayWorld
from sim.driving.scenarios import LONG_TAIL, SCENARIOS

Driver = Callable[[HighwayWorld], Callable[[int], np.ndarray]]


def bodies_of(world: HighwayWorld) -> list[list[Any]]:
    road = world.upstream.road
    vehicles = [
        [type(v).__name__, *v.position, v.heading, v.speed, v.crashed, *v.action.values(),
         v.lane_index, v.impact is not None and list(v.impact)]
        for v in road.vehicles
    ]  # fmt: skip
    return vehicles + [[type(o).__name__, *o.position, o.crashed, o.hit] for o in road.objects]


def blind(world: HighwayWorld) -> Callable[[int], np.ndarray]:
    """Accelerates and sways, so that it also meets others."""
    return lambda tick: np.array([3.0, 0.05 * np.sin(tick / 5)], np.float32)


def steadfast(world: HighwayWorld) -> Callable[[int], np.ndarray]:
    """Holds lane and speed: the hazards of the long tail reach it."""
    return lambda tick: np.zeros(2, np.float32)


def skilled(world: HighwayWorld) -> Callable[[int], np.ndarray]:
    """The rules, which drive long."""
    expert = registry.expert_for(world)
    return lambda tick: expert.act()[0]


def drive(name: str, seed: int, ticks: int, driver: Driver) -> list[Any]:
    world = HighwayWorld(name)
    world.reset(seed=seed)
    command = driver(world)
    rows: list[Any] = [bodies_of(world)]
    for tick in range(ticks):
        frame, reward, terminated, truncated, info = world.step(command(tick))
        rows.append((bodies_of(world), reward, info["collision"], frame["scene"].tobytes()))
        if terminated or truncated:
            break
    world.close()
    return rows


def both_ways(
    monkeypatch: pytest.MonkeyPatch, name: str, seed: int, ticks: int, driver: Driver
) -> list[Any]:
    """The drive on the faster road, after seeing that upstream's gives the same."""
    fast = drive(name, seed, ticks, driver)
    monkeypatch.setattr(fast_road, "FAST", {})
    slow = drive(name, seed, ticks, driver)
    assert len(fast) == len(slow)
    assert fast == slow
    return fast


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_faster_road_drives_every_vehicle_alike(
    name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_ways(monkeypatch, name, seed, 120, blind)


@pytest.mark.parametrize("name", LONG_TAIL)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_hazard_strikes_alike_on_the_faster_road(
    name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = both_ways(monkeypatch, name, seed, 300, steadfast)
    assert rows[-1][2], "the drive goes on until the hazard has struck"


@pytest.mark.parametrize("name", [*SCENARIOS, *LONG_TAIL])
def test_a_long_drive_is_the_same_on_the_faster_road(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_ways(monkeypatch, name, 2, 450, skilled)


def test_some_of_these_drives_end_in_a_collision() -> None:
    assert any(drive(name, 0, 120, blind)[-1][2] for name in SCENARIOS)


def test_upstreams_roads_are_all_known() -> None:
    for name in (*SCENARIOS, *LONG_TAIL):
        world = HighwayWorld(name)
        world.reset(seed=0)
        assert type(world.upstream.road) in (fast_road.FastRoad, fast_road.FastRegulatedRoad)
        world.close()
    other = type("Other", (Road,), {})()
    fast_road.hasten(other)
    assert type(other).__name__ == "Other"
    assert set(fast_road.FAST) == {Road, RegulatedRoad}
