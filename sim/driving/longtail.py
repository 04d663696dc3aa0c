"""Long-tail driving: rare, dangerous situations as subclasses of highway-env's environments.

Each has one hazard, staged from the seed and a difficulty in [0, 1] (config "difficulty"): less
room, less time, harder braking. Upstream's reward and termination are left alone.
"""

from __future__ import annotations

import abc
import math
from typing import Any

import numpy as np
from highway_env.envs.highway_env import HighwayEnv
from highway_env.envs.intersection_env import IntersectionEnv
from highway_env.vehicle.behavior import IDMVehicle

from sim.driving.actors import Barrier, Headlong, Hurried, Pedestrian, Scripted, Truck

LANE = ("0", "1")
MIDDLE = 1


class Staged(HighwayEnv, abc.ABC):
    """Three lanes, the ego in the middle one, some traffic, and a hazard that a subclass stages."""

    TRAFFIC = 5
    CRUISE = 25.0  # [m/s]; the ego starts with it
    blind = False  # True while the camera shows nothing

    @classmethod
    def default_config(cls) -> dict[str, Any]:
        """Upstream's, with a shorter and emptier road."""
        config: dict[str, Any] = super().default_config()
        config.update(
            lanes_count=3, vehicles_count=0, initial_lane_id=MIDDLE, duration=16, difficulty=0.5
        )
        return config

    def _reset(self) -> None:
        super()._reset()
        self.vehicle.speed = self.CRUISE
        self.hard = float(self.config["difficulty"])
        self.free_lanes: set[int] = set()  # no traffic is put there
        self.stage()
        self._fill()

    @abc.abstractmethod
    def stage(self) -> None:
        """Put the hazard's actors on the road."""

    def direct(self) -> None:
        """Tell the actors what to do in this tick."""

    def _simulate(self, action: Any = None) -> None:
        self.direct()
        super()._simulate(action)

    def between(self, low: float, high: float) -> float:
        """A number drawn from the episode's stream."""
        return float(self.np_random.uniform(low, high))

    def lerp(self, easy: float, hard: float) -> float:
        """A parameter at the episode's difficulty."""
        return easy + (hard - easy) * self.hard

    def put(self, kind: Any, ahead: float, lane: int, speed: float, heading: float = 0.0) -> Any:
        """Place an actor `ahead` [m] of the ego on a lane; objects stand still."""
        way = self.road.network.get_lane((*LANE, lane))
        along, _ = way.local_coordinates(self.vehicle.position)
        actor = kind(self.road, way.position(along + ahead, 0.0), heading, speed)
        things = self.road.objects if isinstance(actor, Barrier) else self.road.vehicles
        things.append(actor)
        return actor

    def ahead_of(self, actor: Any) -> float:
        """How far [m] the actor is ahead of the ego, centre to centre."""
        return float(actor.position[0] - self.vehicle.position[0])

    def side_lane(self) -> int:
        """The lane to the left or the right of the ego's, drawn."""
        return int(self.np_random.choice([MIDDLE - 1, MIDDLE + 1]))

    def _fill(self) -> None:
        """Background traffic that keeps its lane, with room to everybody."""
        for _ in range(self.TRAFFIC):
            lane = int(self.np_random.integers(self.config["lanes_count"]))
            ahead, share = self.between(-50.0, 160.0), self.between(0.85, 1.0)
            way = self.road.network.get_lane((*LANE, lane))
            spot = way.position(way.local_coordinates(self.vehicle.position)[0] + ahead, 0.0)
            if lane == MIDDLE or lane in self.free_lanes or self._crowded(spot):
                continue
            vehicle = IDMVehicle(self.road, spot, 0.0, share * self.CRUISE)
            vehicle.enable_lane_change = False
            vehicle.randomize_behavior()
            self.road.vehicles.append(vehicle)

    def _crowded(self, spot: np.ndarray) -> bool:
        away = [np.abs(o.position - spot) for o in (*self.road.vehicles, *self.road.objects)]
        return any(along < 30.0 and aside < 3.0 for along, aside in away)


class StoppedBehindTruck(Staged):
    """The truck ahead pulls out late: a vehicle stands behind it, hidden until then."""

    def stage(self) -> None:
        """A truck ahead, a stopped vehicle far beyond it."""
        gap = self.lerp(34.0, 24.0) + self.between(0.0, 6.0)
        self.truck = self.put(Truck, gap, MIDDLE, self.CRUISE)
        self.truck.enable_lane_change = False
        self.stopped = self.put(Scripted, gap + self.between(110.0, 160.0), MIDDLE, 0.0)
        self.stopped.acceleration = 0.0
        self.exit = self.side_lane()
        self.free_lanes = {self.exit}
        self.truck.target_speed = self.CRUISE

    def direct(self) -> None:
        """The truck changes lanes shortly before the stopped vehicle."""
        left = self.stopped.position[0] - self.truck.position[0]
        if left < self.lerp(80.0, 66.0):
            self.truck.target_lane_index = (*LANE, self.exit)


class CutIn(Staged):
    """A vehicle beside the ego cuts in with little room, and is slower."""

    def stage(self) -> None:
        """A vehicle ahead in the lane beside."""
        self.gap = self.lerp(16.0, 9.0) + self.between(0.0, 3.0)
        lane = self.side_lane()
        self.free_lanes = {lane, 2 * MIDDLE - lane}
        self.cutter = self.put(Scripted, self.gap, lane, self.CRUISE)
        self.start = self.between(2.0, 5.0)
        self.slower: float | None = None

    def direct(self) -> None:
        """Keep beside the ego until it is time."""
        if self.time < self.start:
            error = self.gap - self.ahead_of(self.cutter)
            self.cutter.target_speed = self.vehicle.speed + 0.8 * error
            return
        if self.slower is None:
            self.slower = max(self.vehicle.speed - self.lerp(4.0, 9.0), 3.0)
        self.cutter.target_lane_index = (*LANE, MIDDLE)
        self.cutter.target_speed = self.slower


class WrongWay(Staged):
    """Somebody comes towards the ego on its own lane."""

    TRAFFIC = 3

    def stage(self) -> None:
        """An oncoming vehicle."""
        self.free_lanes = {self.side_lane()}
        self.put(Headlong, self.between(150.0, 220.0), MIDDLE, self.lerp(8.0, 16.0), math.pi)


class CrossingPedestrian(Staged):
    """A pedestrian steps onto the road and would meet the ego in the middle of it."""

    CRUISE, TRAFFIC = 14.0, 2

    def stage(self) -> None:
        """A pedestrian at the road's edge."""
        self.left = bool(self.np_random.random() < 0.5)  # comes from the right, walks to the left
        self.walk = self.lerp(1.3, 2.6) * self.between(0.9, 1.1)
        self.free_lanes = {0, 1, 2}
        self.walker = self.put(Pedestrian, self.between(70.0, 110.0), MIDDLE, 0.0)
        self.walker.position[1] += (1 if self.left else -1) * 7.0

    def direct(self) -> None:
        """Start when walking and driving on would end in the same place."""
        meets_s = 7.0 / self.walk
        if self.walker.speed == 0 and 0 < self.ahead_of(self.walker) < self.vehicle.speed * meets_s:
            self.walker.start(self.walk, self.left)


class BlockedLane(Staged):
    """Road works across the ego's lane; the lane beside is not empty."""

    CRUISE, TRAFFIC = 20.0, 3

    def stage(self) -> None:
        """A row of barriers, and a vehicle in one of the lanes beside."""
        begin = self.lerp(140.0, 100.0) + self.between(0.0, 20.0)
        for row in range(4):
            barrier = self.put(Barrier, begin + 4.0 * row, MIDDLE, 0.0)
            barrier.position[1] += self.between(-1.0, 1.0)
        busy = self.side_lane()
        self.free_lanes = {2 * MIDDLE - busy}
        beside = self.put(IDMVehicle, self.lerp(-12.0, 2.0), busy, self.CRUISE)
        beside.enable_lane_change = False


class HardBraking(Staged):
    """The leader brakes as hard as it can, to a standstill."""

    def stage(self) -> None:
        """A leader at a short distance."""
        self.leader = self.put(
            Scripted, self.lerp(32.0, 22.0) + self.between(0.0, 4.0), MIDDLE, self.CRUISE
        )
        self.leader.target_speed = self.CRUISE
        self.start = self.between(2.0, 6.0)

    def direct(self) -> None:
        """Brake when it is time."""
        if self.time >= self.start:
            self.leader.acceleration = -self.lerp(5.0, 8.0)


class EmergencyBehind(Staged):
    """An emergency vehicle comes from behind, too fast to stop in time; there is room beside."""

    TRAFFIC = 4

    def stage(self) -> None:
        """A fast vehicle behind."""
        self.free_lanes = {self.side_lane()}
        behind, fast = self.lerp(80.0, 55.0) + self.between(0.0, 30.0), self.lerp(34.0, 40.0)
        siren = self.put(Hurried, -behind, MIDDLE, fast)
        siren.enable_lane_change, siren.target_speed = False, fast
        siren.weakest_brake = self.lerp(0.7, 0.2)


class SensorDropout(HardBraking):
    """The camera goes black for a while, and just then the leader brakes."""

    def direct(self) -> None:
        """Black from half a second before the braking on."""
        super().direct()
        since = self.time - (self.start - 0.5)
        self.blind = 0 <= since < self.lerp(0.8, 2.0)
        if self.time >= self.start:
            self.leader.acceleration = -self.lerp(2.5, 4.5)


class RedLightRunner(IntersectionEnv):
    """Somebody crosses the intersection at speed and gives way to nobody."""

    blind = False

    @classmethod
    def default_config(cls) -> dict[str, Any]:
        """Upstream's with less traffic and more time to wait for it; the ego goes straight on."""
        config: dict[str, Any] = super().default_config()
        config.update(initial_vehicle_count=2, spawn_probability=0.0, duration=16)
        config.update(destination="o2", difficulty=0.5)
        return config

    def _reset(self) -> None:
        super()._reset()
        hard = float(self.config["difficulty"])
        self.runner: Any = None
        self.from_left = bool(self.np_random.random() < 0.5)
        self.speed = 10.0 + 5.0 * hard + float(self.np_random.uniform(-1.0, 1.0))

    def _simulate(self, action: Any = None) -> None:
        ego = self.vehicle
        left = np.linalg.norm(ego.position)  # the middle of the intersection is the origin
        if self.runner is None and left < 32.0 and ego.lane_index[0] == "o0":
            self._run(left / max(ego.speed, 3.0))
        super()._simulate(action)

    def _run(self, arrives_s: float) -> None:
        """Put the runner where it reaches the middle together with the ego.

        Nobody else is in its way: a wreck in the middle could be solved by nobody.
        """
        corner = 1 if self.from_left else 3
        lane = self.road.network.get_lane((f"o{corner}", f"ir{corner}", 0))
        before = self.speed * arrives_s - np.linalg.norm(lane.position(lane.length, 0.0))
        along = max(lane.length - before, 0.0)
        spot = lane.position(along, 0.0)
        self.road.vehicles = [
            v
            for v in self.road.vehicles
            if v is self.vehicle
            or (
                np.linalg.norm(v.position - spot) > 15
                and abs(lane.local_coordinates(v.position)[1]) > 3
            )
        ]
        self.runner = Headlong(self.road, spot, lane.heading_at(along), self.speed)
        self.runner.plan_route_to(f"o{(corner + 2) % 4}")
        self.road.vehicles.append(self.runner)
