"""System 1 as it drives in lockstep, without a planner: late by its latency, behind the shield."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from dualsys.messages import Action, Guidance, Observation, Stamp
from dualsys.runtime import assembly
from dualsys.runtime.transit import Midway, Transit
from dualsys.spec import WorldSpec
from dualsys.system1.policy import Policy
from kernels.engine import Engine


class Driver:
    """Goes on with a drive from any tick; what it is told is decided by whoever tries something."""

    def __init__(self, policy: Policy, transit: Transit[Action]) -> None:
        """`policy` is one that asks nobody and accepts all it is told (`assembly.silent`)."""
        self.policy, self._transit = policy, transit

    def start(self, tick: int, told: Guidance | None, midway: Midway) -> None:
        """Go on at `tick` with what was under way; `told` is the guidance of this tick.

        Where nothing under way is known, the last command is held until the first new one acts.
        """
        actions = midway.actions
        if actions:
            last = actions[-1]
            used = told is not None and told.stamp.sequence == last.guidance_sequence
            self.policy.resume(last, told if used else None)
        else:
            self.policy.reset(midway.epoch)
            if midway.commands:
                actions = (_held(midway, tick, self._transit.delay_ticks),)
        self._transit.reset(msgspec.structs.replace(midway, actions=actions))

    def command(self, observation: Observation, told: Guidance | None) -> np.ndarray:
        """React to an observation and return the command (A,) of its tick."""
        stamp = observation.stamp
        self._transit.send(self.policy.act(observation, told, stamp.time_ns).action, stamp)
        for _ in self._transit.due(stamp.time_ns):
            pass
        return self._transit.command(stamp, observation).command


def make_driver(config: dict[str, Any], spec: WorldSpec, engine: Engine) -> Driver:
    """The driver of an `eval` configuration."""
    policy = assembly.make_policy(assembly.silent(config), spec, engine)
    ticks = assembly.make_latency(config, spec).system1_ticks
    return Driver(policy, Transit(assembly.make_shield(config, spec), ticks, spec.period_ns))


def _held(midway: Midway, tick: int, delay_ticks: int) -> Action:
    """The last command again until an action about `tick` can act."""
    return Action(
        stamp=Stamp(midway.session, midway.epoch, 0, tick - delay_ticks, 0),
        first_tick=tick,
        commands=np.tile(midway.commands[-1], (delay_ticks, 1)),
        observation_ns=0,
        uncertainty=math.nan,
        chunk_tick=tick - delay_ticks,
        guidance_sequence=-1,
        guidance_age_ticks=-1,
        compute_ns=0,
    )
