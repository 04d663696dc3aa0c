from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dualsys.bench.rig import rig
from dualsys.config import load
from dualsys.errors import DualsysError, UnknownNameError
from sim import registry


def drive(scenario: str, peer: str, seed: int) -> dict[str, Any]:
    words = [f"scenario={scenario}", "system2=none", f"system1.driver={peer}"]
    with rig(load("eval", words), scenario) as driven:
        assert driven.engine == {"used": peer, "refused": {}}
        return driven.run(0, seed).row


def test_upstreams_driver_model_drives_the_ego() -> None:
    row = drive("driving/merge", "idm", 1)
    assert row["success"]
    assert row["calls"] == 0
    assert row["drive"]["progress"] > 0.6
    assert drive("driving/merge", "idm", 1) == row, "a function of the seed"


def test_the_drivers_ego_is_no_leader_of_itself() -> None:
    world = registry.make("driving/highway")
    world.reset(seed=0)
    driver = registry.peer_for(world, "idm")
    everyone = list(world.upstream.road.vehicles)
    command, _ = driver.act()
    assert world.upstream.road.vehicles == everyone, "nobody is lost"
    assert command[0] > -3, "no emergency stop before the own rear"
    assert np.isfinite(command).all()
    world.close()


@pytest.mark.rendering
def test_upstreams_scripted_policy_reaches() -> None:
    assert drive("manipulation/reach", "scripted", 0)["success"]


def test_a_peer_of_another_domain_is_refused() -> None:
    with pytest.raises(DualsysError, match="for manipulation"):
        drive("driving/merge", "scripted", 0)
    with pytest.raises(UnknownNameError, match="idm"):
        drive("driving/merge", "schumacher", 0)
