"""The faster road changes no result: equal trajectories, to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from highway_env.road.regulation import RegulatedRoad
from highway_env.road.road import Road

from sim.driving import fast_road
from sim.driving.highway import HighwayWorld
from sim.driving.scenarios import SCENARIOS


def vehicles_of(world: HighwayWorld) -> list[list[Any]]:
    return [
        [*v.position, v.heading, v.speed, v.crashed, *v.action.values(), v.lane_index]
        for v in world.upstream.road.vehicles
    ]


def drive(name: str, seed: int, ticks: int, steer: float) -> list[Any]:
    """Accelerates blindly, so that it also meets others."""
    world = HighwayWorld(name)
    world.reset(seed=seed)
    rows: list[Any] = [vehicles_of(world)]
    for tick in range(ticks):
        command = np.array([3.0, steer * np.sin(tick / 5)], np.float32)
        frame, reward, terminated, truncated, info = world.step(command)
        rows.append((vehicles_of(world), reward, info["collision"], frame["scene"].tobytes()))
        if terminated or truncated:
            break
    world.close()
    return rows


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_faster_road_drives_every_vehicle_alike(
    name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = drive(name, seed, 120, 0.05)
    monkeypatch.setattr(fast_road, "FAST", {})
    slow = drive(name, seed, 120, 0.05)
    assert len(fast) == len(slow)
    assert fast == slow


def test_some_of_these_drives_end_in_a_collision() -> None:
    assert any(drive(name, 0, 120, 0.05)[-1][2] for name in SCENARIOS)


def test_upstreams_roads_are_all_known() -> None:
    for name in SCENARIOS:
        world = HighwayWorld(name)
        world.reset(seed=0)
        assert type(world.upstream.road) in (fast_road.FastRoad, fast_road.FastRegulatedRoad)
        world.close()
    other = type("Other", (Road,), {})()
    fast_road.hasten(other)
    assert type(other).__name__ == "Other"
    assert set(fast_road.FAST) == {Road, RegulatedRoad}
