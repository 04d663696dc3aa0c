"""The driving expert: pure pursuit along the route, IDM to the leader, yielding by prediction.

Longitudinal: the least of IDM (Treiber et al. 2000) to what is ahead on the way, a speed limit for
the curvature ahead, and the highest acceleration whose predicted way stays clear of the predicted
ways of all others. Lateral: pure pursuit on the target lane, with the steering angle that gives
the wanted curvature in highway-env's bicycle model. Lane changes by MOBIL (Kesting et al. 2007).
Memoryless but for the lane it is changing to, so that its choices can be read off one image.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sim.driving.route import LaneIndex, points_ahead
from sim.driving.spec import CONTROL_RATE_HZ, SPEC
from sim.experts.prediction import clear_of, predicted_ways

if TYPE_CHECKING:
    from sim.driving.highway import HighwayWorld

LATERAL_ACCELERATION = 2.5  # comfortable bound in curves [m/s2]
ACCELERATION, BRAKE = 2.5, 3.0  # IDM's a and b [m/s2]
HEADWAY_S, JAM_GAP_M = 1.3, 4.0
PROFILES = (-5.0, -3.0, -1.5, 0.0, 1.5, 3.0)  # accelerations tried against the predictions [m/s2]
STOP_TIME_S = 0.2  # time constant of the last metre before standing still
WAY_M = np.arange(0.0, 62.0, 2.0)
CHANGE_GAIN = 0.5  # least advantage of a lane change [m/s2]
TOLD_BRAKE = 2.5  # of a plan to yield that somebody else made [m/s2]
TOLD_LIMITS = {"follow": 0.0, "yield": -TOLD_BRAKE}  # highest accelerations [m/s2]
OBEYED_S = 2.0  # a speed plan that is older is no reason to go slower any more


class DrivingExpert:
    """Drives any scenario of `sim.driving`."""

    def __init__(self, world: HighwayWorld, rng: np.random.Generator | None = None) -> None:
        self._world = world
        self._target: int | None = None
        self._lanes: list[int] = []  # the ego's lane at each tick of the episode

    def reset(self) -> None:
        """Forget the lane change under way."""
        self._target = None
        self._lanes.clear()

    def act(self, told: int = -1, age_ticks: int = 0) -> tuple[np.ndarray, int]:
        """Return the command [m/s2, rad] for the present state and the index of its plan.

        With the plan `told` that somebody made `age_ticks` ago, lanes are changed as that plan says
        (where there is room), else as MOBIL says. "follow" is to gain no speed, "yield" to brake:
        a plan can make it more careful than it would be, never less.
        """
        ego = self._world.upstream.vehicle
        road = ego.road
        self._lanes.append(ego.lane_index[2])
        if told >= 0:
            then = self._lanes[max(0, len(self._lanes) - 1 - age_ticks)]
            self._target = _told_lane(ego, road, SPEC.plans[told], then)
        lane, plan = self._choose_lane(ego, road, told >= 0)
        way, headings = points_ahead(ego, self._world.route, lane, WAY_M)
        cruise = min(self._world.scenario.cruise_mps, _curve_speed(headings))
        leader, gap = _leader(ego, road, way)
        free = _idm(ego.speed, cruise, None, 0.0)
        wanted = _idm(ego.speed, cruise, leader, gap)
        if plan == "cruise" and wanted < free - 0.3:
            plan = "follow"
        safe = self._yielding(ego, road, way, wanted)
        if safe < wanted - 0.1:
            wanted, plan = safe, "yield"
        if told >= 0 and age_ticks <= OBEYED_S * CONTROL_RATE_HZ:
            wanted = min(wanted, TOLD_LIMITS.get(SPEC.plans[told], wanted))
        # highway-env drives backwards below zero speed: come to rest instead.
        wanted = max(wanted, -max(ego.speed, 0.0) / STOP_TIME_S)
        if ego.speed < 0:
            wanted = max(wanted, -ego.speed / STOP_TIME_S)
        command = np.array([wanted, steering(ego, way)])
        command = np.clip(command, SPEC.action_low, SPEC.action_high).astype(np.float32)
        return command, SPEC.plans.index(plan)

    def _choose_lane(self, ego: Any, road: Any, told: bool) -> tuple[LaneIndex, str]:
        start, end, index = ego.lane_index
        lanes = len(road.network.graph[start][end])
        if not self._world.scenario.changes_lanes or lanes < 2:
            return ego.lane_index, "cruise"
        if self._target is None or not 0 <= self._target < lanes:
            self._target = _mobil(ego, road, lanes, self._world.scenario.cruise_mps)
        offset = road.network.get_lane((start, end, self._target)).local_coordinates(ego.position)[
            1
        ]
        if abs(offset) < 0.6 and not told:
            self._target = _mobil(ego, road, lanes, self._world.scenario.cruise_mps)
        if self._target == index:
            return (start, end, index), "cruise"
        plan = "change_left" if self._target < index else "change_right"
        return (start, end, self._target), plan

    def _yielding(self, ego: Any, road: Any, way: np.ndarray, wanted: float) -> float:
        """Highest acceleration, at most `wanted`, that keeps clear of crossing traffic."""
        if not self._world.scenario.crossed:
            return wanted
        others = predicted_ways(ego, road)
        if not len(others):
            return wanted
        tried = [wanted, *sorted((p for p in PROFILES if p < wanted), reverse=True)]
        for acceleration in tried:
            if clear_of(ego, way, WAY_M, acceleration, others):
                return acceleration
        # Nothing is clear: brake hard, unless stopped inside the conflict already.
        return PROFILES[0]


def steering(ego: Any, way: np.ndarray) -> float:
    """Pure-pursuit steering angle [rad] for the bicycle model of highway-env."""
    distance = max(5.0, 0.9 * ego.speed)
    target = way[min(len(way) - 1, round(distance / (WAY_M[1] - WAY_M[0])))]
    dx, dy = target - ego.position
    angle = math.atan2(dy, dx) - ego.heading
    curvature = 2 * math.sin(angle) / max(math.hypot(dx, dy), 1.0)
    # Kinematics: heading rate = v sin(beta) / (L / 2), beta = atan(tan(steering) / 2).
    beta = math.asin(float(np.clip(curvature * ego.LENGTH / 2, -0.6, 0.6)))
    return math.atan(2 * math.tan(beta))


def _curve_speed(headings: np.ndarray) -> float:
    turn = np.abs((np.diff(headings) + np.pi) % (2 * np.pi) - np.pi) / (WAY_M[1] - WAY_M[0])
    # Nearer curvature binds now; farther curvature leaves room to brake at 2 m/s2.
    limit = LATERAL_ACCELERATION / np.maximum(turn, 1e-4)
    return float(np.sqrt(np.min(limit + 2 * 2.0 * np.maximum(WAY_M[1:] - 6.0, 0.0))))


def _leader(ego: Any, road: Any, way: np.ndarray) -> tuple[Any | None, float]:
    """Nearest thing whose body is on the way ahead, and the bumper gap [m]."""
    best, best_gap = None, math.inf
    things = [*road.vehicles, *(o for o in road.objects if o.solid)]
    for thing in things:
        if thing is ego or np.abs(thing.position - ego.position).max() > WAY_M[-1] + 5:
            continue
        distance = np.linalg.norm(way - thing.position, axis=1)
        nearest = int(distance.argmin())
        if nearest == 0 or distance[nearest] > thing.WIDTH / 2 + ego.WIDTH / 2 + 0.4:
            continue
        gap = WAY_M[nearest] - (ego.LENGTH + thing.LENGTH) / 2
        if gap < best_gap:
            best, best_gap = thing, gap
    return best, best_gap


def _idm(speed: float, cruise: float, leader: Any | None, gap: float) -> float:
    acceleration = ACCELERATION * (1 - (max(speed, 0.0) / max(cruise, 0.1)) ** 4)
    acceleration = max(acceleration, -BRAKE)
    if leader is not None:
        closing = speed - leader.speed
        room = (
            JAM_GAP_M + speed * HEADWAY_S + speed * closing / (2 * math.sqrt(ACCELERATION * BRAKE))
        )
        acceleration = min(
            acceleration,
            ACCELERATION * (1 - (speed / cruise) ** 4 - (max(room, 0.0) / max(gap, 0.5)) ** 2),
        )
    return float(max(acceleration, -5.0))


def _mobil(ego: Any, road: Any, lanes: int, cruise: float) -> int:
    """Lane with a clear advantage that costs nobody behind hard braking; else this one."""
    start, end, index = ego.lane_index
    front, _ = road.neighbour_vehicles(ego, ego.lane_index)
    here = _idm(ego.speed, cruise, front, _gap(ego, front))
    best, best_gain = index, CHANGE_GAIN
    for other in (index - 1, index + 1):
        if not 0 <= other < lanes or not _has_room(ego, road, other):
            continue
        front, _ = road.neighbour_vehicles(ego, (start, end, other))
        gain = _idm(ego.speed, cruise, front, _gap(ego, front)) - here
        if gain > best_gain:
            best, best_gain = other, gain
    return best


def _has_room(ego: Any, road: Any, lane: int) -> bool:
    """True when changing to `lane` cuts nobody off and runs into nobody."""
    start, end, _ = ego.lane_index
    front, rear = road.neighbour_vehicles(ego, (start, end, lane))
    if front is not None and _gap(ego, front) < 8 + 0.5 * ego.speed:
        return False
    if rear is None:
        return True
    room = 8 + 0.6 * rear.speed + 2.0 * max(0.0, rear.speed - ego.speed)
    return _gap(rear, ego) >= room


def _told_lane(ego: Any, road: Any, plan: str, then: int) -> int:
    """The lane that a plan made in lane `then` means, or the present one while there is no room."""
    start, end, index = ego.lane_index
    lane = then + {"change_left": -1, "change_right": 1}.get(plan, 0)
    if plan not in ("change_left", "change_right") or lane == index:
        return int(index)
    there = 0 <= lane < len(road.network.graph[start][end]) and abs(lane - index) == 1
    return lane if there and _has_room(ego, road, lane) else int(index)


def _gap(rear: Any, front: Any | None) -> float:
    if front is None:
        return math.inf
    return float(rear.lane_distance_to(front) - (rear.LENGTH + front.LENGTH) / 2)
