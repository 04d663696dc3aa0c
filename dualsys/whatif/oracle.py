"""The oracle: a trigger that tries both ways in the world itself before it decides.

What a gate could at best learn to foresee, one call ahead: each look compares the next seconds with
and without one call now. An approximation still: answers that are under way are not foreseen, and
the drives tried make no further call. Evaluation in lockstep only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dualsys.errors import DualsysError
from dualsys.messages import Guidance, Observation
from dualsys.runtime import assembly
from dualsys.runtime.transit import Midway
from dualsys.spec import WorldSpec
from dualsys.system2.planner import Planner
from dualsys.trigger.situation import Situation
from dualsys.whatif.call_trials import Branching
from dualsys.whatif.driver import make_driver
from dualsys.whatif.junction import Junction
from kernels.engine import Engine
from sim.world import SavableWorld


class OracleTrigger:
    """Calls when the drive goes on better with the answer than without it.

    `look` is told every tick before System 1 reacts, and tries both ways every `look_ticks`, when
    `refractory_ticks` have passed since the last call. The world is left as it was found.
    """

    def __init__(
        self,
        world: Any,
        branching: Branching,
        price: float,
        look_ticks: int,
        refractory_ticks: int,
    ) -> None:
        self._world, self._branching, self._price = world, branching, price
        self._look, self._refractory = look_ticks, refractory_ticks
        self.reset(0)

    def reset(self, epoch: int) -> None:
        """Look at once."""
        self._epoch = epoch
        self._looked: int | None = None
        self._called: int | None = None
        self._gain: float | None = None

    def look(
        self,
        observation: Observation,
        frame: Any,
        info: dict[str, Any],
        told: Guidance | None,
        midway: Midway,
    ) -> None:
        """Try both ways from here; `told` is in force, `midway` is what is under way."""
        self._gain = None
        tick = observation.stamp.tick
        if self._called is not None and tick - self._called < self._refractory:
            return
        if self._looked is not None and tick - self._looked < self._look:
            return
        self._looked = tick
        here = Junction.here(self._world, frame, info)
        self._branching.draw(self._epoch, tick)
        self._gain = self._branching.both(here, observation, told, midway).gain
        here.reach()

    def decide(self, tick: int, seen: Situation) -> str | None:
        """Call when a look in this very tick found a gain above the price."""
        if self._gain is None or self._gain <= self._price:
            return None
        self._called = tick
        return "pays"


def check_oracle(config: assembly.Config, spec: WorldSpec) -> None:
    """Raise `DualsysError` where both ways cannot be tried, or settings that are none."""
    trigger, name = config["trigger"], config["system2"]["name"]
    if spec.domain != "driving":
        raise DualsysError(
            "trigger=oracle judges stretches of driving, this world is of the domain "
            f"{spec.domain!r}; choose another trigger="
        )
    if name in ("none", "remote"):
        raise DualsysError(
            f"trigger=oracle asks a System 2 of this process twice a second, system2={name} is "
            "none; give system2=vlm or scripted"
        )
    if not np.isfinite(trigger["price"]):
        raise DualsysError(f"trigger.price must be a number, it is {trigger['price']}")
    for key in ("look_s", "refractory_s", "horizon_s"):
        if round(trigger[key] * spec.control_rate_hz) < 1:
            raise DualsysError(f"trigger.{key} must be at least one tick, it is {trigger[key]} s")


def make_oracle(
    config: assembly.Config, world: Any, engine: Engine, planner: Planner | None
) -> OracleTrigger:
    """The oracle of a world, which asks `planner` (each thought starts from its own request).

    Raises `DualsysError` where both ways cannot be tried.
    """
    spec, trigger = world.world_spec, config["trigger"]
    check_oracle(config, spec)
    if planner is None or not isinstance(world, SavableWorld):
        raise DualsysError(
            f"trigger=oracle goes back in time, {type(world).__name__} has no save and restore; "
            "choose another trigger="
        )
    branching = Branching(
        world,
        # Not the System 1 that really drives: its chunk and its trigger go on undisturbed.
        make_driver(config, spec, engine),
        planner,
        assembly.make_latency(config, spec),
        assembly.make_acceptance(config, spec),
        config["system2"]["budget"],
        trigger["horizon_s"],
    )
    look, refractory = (
        round(trigger[key] * spec.control_rate_hz) for key in ("look_s", "refractory_s")
    )
    return OracleTrigger(world, branching, trigger["price"], look, refractory)
