"""Requests for measurements of System 2 alone: about ticks of an episode that nobody steers."""

from __future__ import annotations

import numpy as np

from dualsys.messages import PlanRequest, Stamp
from dualsys.runtime.observe import observation_of


def requests_of(scenario: str, count: int, samples: int = 1, session: int = 0) -> list[PlanRequest]:
    """`count` requests of a session, numbered from 1, one for each tick."""
    from sim import registry

    world = registry.make(scenario)
    spec = world.world_spec
    still = np.clip(np.zeros(len(spec.action), np.float32), spec.action_low, spec.action_high)
    frame, info = world.reset(seed=0)
    found = []
    for tick in range(count):
        stamp = Stamp(session, 0, tick + 1, tick, 0)
        observation = observation_of(world, frame, info, stamp)
        chunk = np.tile(still, (samples, 16, 1))
        found.append(PlanRequest(stamp, tick + 1, observation, chunk, "probe", 0.0, "full"))
        frame, _, terminated, truncated, info = world.step(still)
        if terminated or truncated:
            frame, info = world.reset(seed=tick)
    world.close()
    return found
