from __future__ import annotations

import numpy as np
import pytest

from dualsys.errors import SpecMismatchError, UnknownNameError
from sim import registry
from sim.contract import check_world
from sim.driving.highway import HighwayWorld
from sim.driving.scenarios import SCENARIOS
from tests.fakes import PointWorld


@pytest.mark.rendering
@pytest.mark.parametrize("scenario", registry.scenarios())
def test_every_registered_world_keeps_the_contract(scenario: str) -> None:
    world = registry.make(scenario)
    try:
        check_world(world, seed=7, ticks=12)
    finally:
        world.close()


def test_the_fake_world_keeps_the_contract() -> None:
    check_world(PointWorld())


class Unseeded(PointWorld):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=None, options=options)


class Deaf(PointWorld):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=0, options=options)


class Leaky(PointWorld):
    def _frame(self):
        frame = super()._frame()
        frame["state"] = frame["state"] + np.float32(np.nan)
        return frame


class SlowCamera(PointWorld):
    def _info(self):
        return {**super()._info(), "image_ticks": {"eye": 0}}


@pytest.mark.parametrize(
    ("world", "words"),
    [
        (Unseeded, "differ in"),
        (Deaf, "seeds 0 to 7 all begin with the same frame"),
        (Leaky, "observation space|not finite"),
        (SlowCamera, "period 2"),
    ],
)
def test_the_checker_finds_broken_worlds(world: type, words: str) -> None:
    with pytest.raises(SpecMismatchError, match=words):
        check_world(world())


@pytest.mark.rendering
@pytest.mark.parametrize("scenario", registry.suite("mt10"))
def test_seeds_place_goal_or_objects_anew(scenario: str) -> None:
    world = registry.make(scenario)
    placed = np.stack([world.reset(seed=seed)[0]["scene"][:, 1:4] for seed in range(8)])
    world.close()
    assert len(np.unique(placed.reshape(8, -1), axis=0)) == 8
    assert np.ptp(placed, axis=0).max() > 0.05, "upstream draws from ranges of 10 cm and more"


@pytest.mark.rendering
def test_images_are_neither_black_nor_flat() -> None:
    for scenario in ("driving/intersection", "manipulation/push"):
        world = registry.make(scenario)
        frame, _ = world.reset(seed=0)
        for image in frame["images"].values():
            assert image.std() > 10
        world.close()


def test_an_unknown_scenario_lists_the_valid_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'driving/merge'.*manipulation/push"):
        registry.make("driving/merg")


@pytest.mark.parametrize("name", ["merge", "roundabout"])
def test_the_expert_drives_an_episode_through(name: str) -> None:
    world = registry.make(f"driving/{name}")
    expert = registry.expert_for(world)
    world.reset(seed=1)
    expert.reset()
    done, info = False, {}
    while not done:
        action, plan = expert.act()
        assert 0 <= plan < len(world.world_spec.plans)
        _, _, terminated, truncated, info = world.step(action)
        done = terminated or truncated
    assert info["success"]


def test_upstreams_intersection_leaves_no_trace_in_other_scenarios() -> None:
    """Upstream changes the driver model of its whole process when it makes an intersection."""
    merge = registry.make("driving/merge")

    def returns() -> list[float]:
        merge.reset(seed=3)
        rewards = [merge.step(np.zeros(2, np.float32)) for _ in range(40)]
        return [float(frame["scene"][0, 1]) for frame, *_ in rewards]

    before = returns()
    registry.make("driving/intersection").reset(seed=0)
    assert returns() == before


@pytest.mark.parametrize("name", SCENARIOS)
def test_leaving_out_upstreams_observation_changes_no_drive(name: str) -> None:
    ours, theirs = HighwayWorld(name), HighwayWorld(name)
    theirs.upstream.configure({"observation": {"type": "Kinematics"}})
    drives = []
    for world in (ours, theirs):
        frame, _ = world.reset(seed=4)
        rows = [frame["scene"]]
        for _ in range(20):
            frame, reward, terminated, truncated, _ = world.step(np.array([0.5, 0.01], np.float32))
            rows += [frame["scene"], frame["state"], np.array([reward, terminated, truncated])]
        drives.append(np.concatenate([row.ravel() for row in rows]))
        world.close()
    np.testing.assert_array_equal(drives[0], drives[1])
