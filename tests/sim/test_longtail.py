"""Rare situations: each is a danger to who drives on, and can be escaped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dualsys.errors import DualsysError, UnknownNameError
from sim import registry
from sim.driving.actors import Truck
from sim.driving.highway import HighwayWorld
from sim.driving.scenarios import LONG_TAIL, UNSEEN
from sim.driving.scene import visible
from sim.experts.search import SearchExpert


def drive(world: HighwayWorld, seed: int, expert: Any) -> dict[str, Any]:
    """The last tick's info; without an expert the ego holds lane and speed."""
    _, info = world.reset(seed=seed)
    ended = False
    while not ended:
        command = np.zeros(2, np.float32) if expert is None else expert.act()[0]
        _, _, terminated, truncated, info = world.step(command)
        ended = terminated or truncated
    return info


@pytest.mark.parametrize("name", LONG_TAIL)
def test_who_drives_on_collides_and_who_knows_all_does_not(name: str) -> None:
    world = HighwayWorld(f"{name}@0.5")
    # The rules do not look back: who follows is expected to keep away.
    behind = name == "emergency_behind"
    expert = SearchExpert(world) if behind else registry.expert_for(world)
    assert not any(drive(world, seed, expert)["collision"] for seed in range(2))
    assert all(drive(world, seed, None)["collision"] for seed in range(3))


def test_the_harder_the_sooner_an_emergency_vehicle_runs_into_who_stays() -> None:
    def until_hit_s(difficulty: float) -> float:
        world = HighwayWorld(f"emergency_behind@{difficulty}")
        assert drive(world, 0, None)["collision"]
        return float(world.upstream.time)

    assert until_hit_s(0.2) > until_hit_s(0.5) > until_hit_s(0.8) > until_hit_s(1.0)


@pytest.mark.parametrize("name", LONG_TAIL)
def test_the_hazard_is_a_function_of_seed_and_difficulty(name: str) -> None:
    def places(scenario: str, seed: int) -> list[list[float]]:
        world = HighwayWorld(scenario)
        world.reset(seed=seed)
        for _ in range(60):
            world.step(np.zeros(2, np.float32))
        return [[*v.position, v.speed] for v in world.upstream.road.vehicles]

    assert places(f"{name}@0.2", 3) == places(f"{name}@0.2", 3)
    assert places(f"{name}@0.2", 3) != places(f"{name}@0.2", 4)
    assert places(f"{name}@0.2", 3) != places(f"{name}@0.9", 3)
    assert places(name, 3) == places(f"{name}@0.5", 3)


def test_nothing_is_seen_through_a_truck() -> None:
    world = HighwayWorld("stopped_behind_truck")
    frame, _ = world.reset(seed=1)
    hazard, road = world.upstream, world.upstream.road
    assert hazard.stopped in road.vehicles
    assert hazard.stopped not in visible(world.upstream.vehicle, road)
    assert hazard.truck in visible(world.upstream.vehicle, road)
    hazard.truck.position[1] += 6.0
    assert hazard.stopped in visible(world.upstream.vehicle, road)
    lengths = frame["scene"][:, world.world_spec.scene_fields.index("length_m")]
    assert Truck.LENGTH in lengths
    assert frame["scene"][0, 0] == 1.0


def test_the_camera_is_black_while_the_leader_brakes() -> None:
    world = HighwayWorld("sensor_dropout@1.0")
    world.reset(seed=0)
    dark = []
    for _ in range(150):
        frame, _, terminated, _, _ = world.step(np.array([-1.0, 0.0], np.float32))
        dark.append(not frame["images"]["topdown"].any())
        assert frame["scene"].any() != dark[-1]
        if terminated:
            break
    assert 15 <= sum(dark) <= 35
    assert not dark[0]


@pytest.mark.parametrize("wrong", ["cut_in@2", "cut_in@hard", "merge@0.5", "cut_in@"])
def test_a_difficulty_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(DualsysError, match="number from 0 to 1"):
        registry.make(f"driving/{wrong}")


def test_an_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="hard_braking"):
        registry.make("driving/cutin@0.5")


def test_some_kinds_are_kept_from_training() -> None:
    assert set(UNSEEN) < set(LONG_TAIL)
    assert registry.suite("longtail") == tuple(f"driving/{name}" for name in LONG_TAIL)
    assert registry.suite("longtail_hard") == tuple(f"driving/{name}@0.8" for name in LONG_TAIL)
