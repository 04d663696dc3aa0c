"""A stretch of driving from a state on, under guidance that is known beforehand, and its terms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np

from dualsys.errors import DualsysError
from dualsys.messages import Guidance
from dualsys.runtime.transit import Midway
from dualsys.whatif.driver import Driver
from dualsys.whatif.junction import Junction, tried
from sim.driving.terms import Terms, terms, time_to_collision_s

Told = Callable[[int], Guidance | None]


class Driven(msgspec.Struct, frozen=True):
    """One tick of a stretch: the shield's command, and what the world showed after it."""

    command: np.ndarray  # float32 (A,)
    frame: Any
    info: dict[str, Any]


def stretch(
    world: Any,
    driver: Driver,
    junction: Junction,
    begin: int,
    told: Told,
    ticks: int,
    midway: Midway | None = None,
) -> Iterator[Driven]:
    """Go on for `ticks` ticks from a recorded state, at tick `begin`, or to the end of the drive.

    `told` gives the guidance that System 1 has in each of these ticks, counted from 0; `midway` is
    what was under way, None where that is not known. Raises `DualsysError` when the drive is over
    before it begins.
    """
    reached = junction.reach()
    if reached is None:
        raise DualsysError(f"a recorded drive ends before tick {begin} when it is driven again")
    frame, info = reached
    midway = midway or Midway(commands=junction.last_commands)
    driver.start(begin, told(0), midway)
    for step in range(ticks):
        stamped = begin + step, midway.session, midway.epoch
        command = driver.command(tried(world, frame, info, *stamped), told(step))
        frame, _, terminated, truncated, info = world.step(command)
        yield Driven(command, frame, info)
        if terminated or truncated:
            return


def drive(
    world: Any,
    driver: Driver,
    junction: Junction,
    begin: int,
    told: Told,
    ticks: int,
    midway: Midway | None = None,
) -> Terms:
    """The terms of a `stretch`."""
    spec = world.world_spec
    axis = {a.name: i for i, a in enumerate(spec.state)}
    speed, wanted, closest = [], [], []
    harmed = False
    for at in stretch(world, driver, junction, begin, told, ticks, midway):
        harmed |= at.info["collision"] or at.info["metrics"]["offroad"] > 0
        speed.append(float(at.frame["state"][axis["speed"]]))
        wanted.append(float(at.command[0]))
        closest.append(time_to_collision_s(at.frame["scene"], spec.scene_fields, speed[-1]))
    cruise = float(at.frame["state"][axis["cruise_speed"]])
    rate = spec.control_rate_hz
    return terms(np.array(speed), cruise, np.array(wanted), np.array(closest), harmed, rate)


def always(guidance: Guidance | None) -> Told:
    """The same guidance in every tick."""
    return lambda _: guidance
