from __future__ import annotations

import pytest

from sim import registry
from sim.experts.search import EXPERT, SearchExpert


@pytest.mark.parametrize("name", ["emergency_behind@1.0", "stopped_behind_truck@1.0"])
def test_the_search_escapes_what_the_rules_do_not(name: str) -> None:
    world = registry.make(f"driving/{name}")
    planner, rules = SearchExpert(world), registry.expert_for(world)
    ends, searched = [], 0
    for seed in range(6):
        for driver in (rules, planner):
            _, info = world.reset(seed=seed)
            driver.reset()
            done = False
            while not done:
                command, plan = driver.act()
                assert 0 <= plan < len(world.world_spec.plans)
                searched += driver is planner and planner._manoeuvre is not EXPERT
                _, _, terminated, truncated, info = world.step(command)
                done = terminated or truncated
            ends.append(info["collision"])
        if ends[-2]:
            break
    assert ends[-2], "the rules alone come to harm in one of these seeds"
    assert not ends[-1], "the search does not"
    assert searched


def test_imagining_changes_nothing() -> None:
    world = registry.make("driving/cut_in")
    world.reset(seed=0)
    before = [[*v.position, v.speed] for v in world.upstream.road.vehicles]
    SearchExpert(world).act()
    assert [[*v.position, v.speed] for v in world.upstream.road.vehicles] == before
