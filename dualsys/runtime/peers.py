"""Somebody else in System 1's place, for comparison: same world, same shield, no System 2.

A peer reads the simulator's state, which System 1 does not see; tables say so.
"""

from __future__ import annotations

import math
from collections import Counter

import msgspec
import numpy as np

from dualsys.messages import Action, Guidance, Observation
from dualsys.spec import WorldSpec
from dualsys.system1.tick import Provenance, Tick
from dualsys.system1.uncertainty import Uncertainty
from dualsys.trigger.situation import Situation
from sim.world import Expert


class PeerPolicy:
    """An expert behind the interface of `Policy`: one command per tick, no call, no guidance."""

    def __init__(self, spec: WorldSpec, expert: Expert) -> None:
        self._spec, self._expert = spec, expert
        self.refused: Counter[str] = Counter()
        self.situation = Situation()
        self.seam_jump = 0.0

    def reset(self, epoch: int) -> None:
        """Start an episode."""
        self._expert.reset()

    def fault(self, guidance: Guidance) -> str | None:
        """No guidance is of use."""
        return "peer"

    def in_force(self, tick: int) -> Guidance | None:
        """No guidance is of use."""
        return None

    def warm_up(self, passes: int = 10) -> None:
        """Nothing to warm up."""

    def act(self, observation: Observation, guidance: Guidance | None, now_ns: int) -> Tick:
        """The expert's command for the present state of the world."""
        command, _ = self._expert.act()
        tick = observation.stamp.tick
        action = Action(
            stamp=msgspec.structs.replace(observation.stamp, time_ns=now_ns),
            first_tick=tick,
            commands=np.tile(command, (self._held, 1)),
            observation_ns=observation.stamp.time_ns,
            uncertainty=math.nan,
            chunk_tick=tick,
            guidance_sequence=-1,
            guidance_age_ticks=-1,
            compute_ns=0,
        )
        return Tick(action, Uncertainty(), None, Provenance(tick, -1, -1, True))

    @property
    def _held(self) -> int:
        """For how many ticks a command is held: under latency the next one comes late."""
        return max(2, round(0.5 * self._spec.control_rate_hz))
