"""A stretch of driving from a state on, under guidance that is known beforehand, and its terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dualsys.errors import DualsysError
from dualsys.messages import Guidance
from dualsys.system1.policy import Policy
from dualsys.whatif.junction import Junction, tried
from sim.driving.terms import Terms, terms, time_to_collision_s


def drive(
    world: Any,
    policy: Policy,
    junction: Junction,
    begin: int,
    told: Callable[[int], Guidance | None],
    ticks: int,
) -> Terms:
    """Go on for `ticks` ticks from a recorded state, at tick `begin`, and judge it.

    `told` gives the guidance that System 1 has in each of these ticks, counted from 0. Raises
    `DualsysError` when the drive is over before it begins.
    """
    spec, reached = world.world_spec, junction.reach()
    if reached is None:
        raise DualsysError(f"a recorded drive ends before tick {begin} when it is driven again")
    frame, info = reached
    policy.reset(0)
    axis = {a.name: i for i, a in enumerate(spec.state)}
    speed, wanted, closest = [], [], []
    harmed = False
    for step in range(ticks):
        observation = tried(world, frame, info, begin + step)
        command = policy.act(observation, told(step), 0).action.commands[0]
        frame, _, terminated, truncated, info = world.step(command)
        harmed |= info["collision"] or info["metrics"]["offroad"] > 0
        speed.append(float(frame["state"][axis["speed"]]))
        wanted.append(float(command[0]))
        closest.append(time_to_collision_s(frame["scene"], spec.scene_fields, speed[-1]))
        if terminated or truncated:
            break
    cruise = float(frame["state"][axis["cruise_speed"]])
    rate = spec.control_rate_hz
    return terms(np.array(speed), cruise, np.array(wanted), np.array(closest), harmed, rate)


def always(guidance: Guidance | None) -> Callable[[int], Guidance | None]:
    """The same guidance in every tick."""
    return lambda _: guidance
