"""The oracle: a trigger that knows what a call gains, for it tries both ways in the world itself.

What no gate can beat, and so what every gate is measured against. Evaluation in lockstep only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dualsys.errors import DualsysError
from dualsys.messages import Guidance, Observation
from dualsys.runtime import assembly
from dualsys.trigger.situation import Situation
from dualsys.whatif.call_trials import Branching, gain
from dualsys.whatif.junction import Junction
from kernels.engine import Engine
from sim.world import SavableWorld


class OracleTrigger:
    """Calls when the drive goes on better with the answer than without it.

    `look` is told every tick before System 1 reacts; the world is left as it was found. Answers
    that are under way are not foreseen; the tried call's latency is drawn like a real one's.
    """

    def __init__(self, world: Any, branching: Branching, price: float, refractory: int) -> None:
        if not np.isfinite(price):
            raise DualsysError(f"trigger.price must be a number, it is {price}")
        if refractory < 1:
            raise DualsysError(
                f"trigger.refractory_s must be at least one tick, it is {refractory} ticks"
            )
        self._world, self._branching = world, branching
        self._price, self._refractory = price, refractory
        self.reset(0)

    def reset(self, epoch: int) -> None:
        """Look at once."""
        self._epoch = epoch
        self._looked: int | None = None
        self._gain: float | None = None

    def look(
        self, observation: Observation, frame: Any, info: dict[str, Any], told: Guidance | None
    ) -> None:
        """Try both ways from here, a refractory time after the last look."""
        self._gain = None
        tick = observation.stamp.tick
        if self._looked is not None and tick - self._looked < self._refractory:
            return
        self._looked = tick
        here = Junction.here(self._world, frame, info)
        self._branching.draw(self._epoch, tick)
        without, called_for, _ = self._branching.both(here, observation, told)
        here.reach()
        self._gain = gain(without, called_for)

    def decide(self, tick: int, seen: Situation) -> str | None:
        """Call when the last look, of this very tick, found a gain above the price."""
        return "pays" if self._gain is not None and self._gain > self._price else None


def make_oracle(config: assembly.Config, world: Any, engine: Engine) -> OracleTrigger:
    """The oracle of a world. Raises `DualsysError` where both ways cannot be tried."""
    spec, trigger = world.world_spec, config["trigger"]
    if spec.domain != "driving" or not isinstance(world, SavableWorld):
        raise DualsysError(
            f"trigger=oracle tries both ways in the simulator, which worlds of the domain "
            f"{spec.domain!r} do not allow; driving worlds do"
        )
    planner = assembly.make_planner(config, spec, dict(world.plan_hints))
    if planner is None:
        raise DualsysError("trigger=oracle needs a System 2; give system2=vlm or another")
    # The tried drives ask nobody, and their System 1 is another than the one that really drives.
    silent = {**config, "trigger": {**trigger, "name": "never"}}
    branching = Branching(
        world,
        assembly.make_policy(silent, spec, engine),
        planner,
        assembly.make_latency(config),
        config["system2"]["budget"],
        trigger["horizon_s"],
    )
    refractory = round(trigger["refractory_s"] * spec.control_rate_hz)
    return OracleTrigger(world, branching, trigger["price"], refractory)
