"""A search planner for hard driving states: tries manoeuvres on copies of the simulator.

It knows the simulator's future (others react as they will): a ceiling, and the proof that a
situation can be solved. First choice is the rule-based expert; where its imagined drive ends in
harm, manoeuvres of a lane and an acceleration are imagined, and the one that stays unharmed
longest, then gets furthest, is begun. Every third of a second it thinks anew.
"""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from sim.driving.route import points_ahead
from sim.driving.spec import CONTROL_RATE_HZ, SPEC
from sim.experts.driving import STOP_TIME_S, WAY_M, DrivingExpert, steering

if TYPE_CHECKING:
    from sim.driving.highway import HighwayWorld

HORIZON_TICKS = round(4.0 * CONTROL_RATE_HZ)
COMMITTED_TICKS = 5
ACCELERATIONS = (0.0, -2.5, -5.0, 4.0)  # [m/s2]
LANES = (0, -1, 1)


class Manoeuvre(msgspec.Struct, frozen=True):
    """Go to the lane `lane` (an index) with a constant acceleration; None: as the expert does."""

    lane: int | None
    acceleration: float


EXPERT = Manoeuvre(None, 0.0)


class _Imagined:
    """What `DrivingExpert` needs of a world, around a copy of upstream's environment."""

    def __init__(self, world: HighwayWorld) -> None:
        network = world.upstream.road.network
        self.upstream = copy.deepcopy(world.upstream, {id(network): network})
        self.scenario, self.route = world.scenario, world.route

    def step(self, command: np.ndarray) -> bool:
        """Advance one tick; False once the ego has come to harm."""
        span = SPEC.action_high - SPEC.action_low
        _, _, ended, _, _ = self.upstream.step(2 * (command - SPEC.action_low) / span - 1)
        ego = self.upstream.vehicle
        return not ego.crashed and ego.on_road and not (ended and ego.crashed)


class SearchExpert:
    """Drives any scenario of `sim.driving`; slow."""

    def __init__(self, world: HighwayWorld, rng: np.random.Generator | None = None) -> None:
        self._world = world
        self._rules = DrivingExpert(world)
        self.reset()

    def reset(self) -> None:
        """Forget the manoeuvre under way."""
        self._rules.reset()
        self._manoeuvre, self._left = EXPERT, 0

    def act(self, told: int = -1, age_ticks: int = 0) -> tuple[np.ndarray, int]:
        """The command [m/s2, rad] and the plan it amounts to; it hears no plan of others."""
        command, plan = self._rules.act()
        if self._left == 0:
            self._manoeuvre, self._left = self._best(), COMMITTED_TICKS
        self._left -= 1
        if self._manoeuvre.lane is None:
            return command, plan
        return _command(self._world, self._manoeuvre), self._plan()

    def _best(self) -> Manoeuvre:
        unharmed, _ = self._imagine(EXPERT)
        if unharmed == HORIZON_TICKS:
            return EXPERT
        start, end, index = self._world.upstream.vehicle.lane_index
        count = len(self._world.upstream.road.network.graph[start][end])
        lanes = [index + away for away in LANES if 0 <= index + away < count]
        tried = [Manoeuvre(*pair) for pair in itertools.product(lanes, ACCELERATIONS)]
        # What is under way first: of equals, the first one wins.
        tried.sort(key=lambda manoeuvre: manoeuvre != self._manoeuvre)
        return max(tried, key=self._imagine)

    def _imagine(self, manoeuvre: Manoeuvre) -> tuple[int, float]:
        """Ticks without harm, and the way made in them [m]."""
        world, way = _Imagined(self._world), 0.0
        rules = copy.copy(self._rules)
        rules.__dict__.update(_world=world, _lanes=[])
        for tick in range(HORIZON_TICKS):
            command = rules.act()[0] if manoeuvre.lane is None else _command(world, manoeuvre)
            if not world.step(command):
                return tick, way
            way += world.upstream.vehicle.speed / CONTROL_RATE_HZ
        return HORIZON_TICKS, way

    def _plan(self) -> int:
        index = self._world.upstream.vehicle.lane_index[2]
        lane = self._manoeuvre.lane
        if lane is not None and lane != index:
            return SPEC.plans.index("change_left" if lane < index else "change_right")
        return SPEC.plans.index("yield" if self._manoeuvre.acceleration < 0 else "cruise")


def _command(world: Any, manoeuvre: Manoeuvre) -> np.ndarray:
    ego = world.upstream.vehicle
    start, end, index = ego.lane_index
    count = len(ego.road.network.graph[start][end])
    lane = index if manoeuvre.lane is None else min(manoeuvre.lane, count - 1)
    way, _ = points_ahead(ego, world.route, (start, end, lane), WAY_M)
    # highway-env drives backwards below zero speed: come to rest instead.
    wanted = max(manoeuvre.acceleration, -max(ego.speed, 0.0) / STOP_TIME_S)
    command = np.array([wanted, steering(ego, way)])
    return np.clip(command, SPEC.action_low, SPEC.action_high).astype(np.float32)
