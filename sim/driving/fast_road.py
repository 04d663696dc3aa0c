"""highway-env's road with its two quadratic searches made cheap, to the last bit the same.

Upstream asks for the neighbours of every vehicle by projecting all vehicles on the lane each time,
tests every pair for a collision and predicts both vehicles of every pair that may be in conflict.
While the vehicles decide nobody moves, so one projection per vehicle and lane, and one prediction
per vehicle, serve all questions; and pairs that are clearly apart need no exact test.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from highway_env.road.regulation import RegulatedRoad
from highway_env.road.road import Road
from highway_env.vehicle.objects import Landmark

_SLACK_M = 1e-6  # more than rounding can make of a distance


class _Fast:
    """Overrides of `Road`; the state stays upstream's."""

    _on_lane: dict[int, list[tuple[float, Any]]] | None = None

    def act(self: Any) -> None:
        """Let every vehicle decide; nobody moves meanwhile."""
        self._on_lane = {}
        try:
            super().act()  # type: ignore[misc]
        finally:
            self._on_lane = None

    def neighbour_vehicles(self: Any, vehicle: Any, lane_index: Any = None) -> tuple[Any, Any]:
        """The vehicle ahead and the one behind on a lane, None where there is none."""
        lane_index = lane_index or vehicle.lane_index
        if self._on_lane is None or self.neighbour_vehicles_connected_lanes or not lane_index:
            return super().neighbour_vehicles(vehicle, lane_index)  # type: ignore[misc]
        lane = self.network.get_lane(lane_index)
        if id(lane) not in self._on_lane:
            self._on_lane[id(lane)] = self._projected(lane)
        here = lane.local_coordinates(vehicle.position)[0]
        front_at = rear_at = front = rear = None
        for along, other in self._on_lane[id(lane)]:
            if other is vehicle:
                continue
            if here <= along and (front_at is None or along <= front_at):
                front_at, front = along, other
            if along < here and (rear_at is None or along > rear_at):
                rear_at, rear = along, other
        return front, rear

    def _projected(self: Any, lane: Any) -> list[tuple[float, Any]]:
        found = []
        for other in self.vehicles + self.objects:
            if not isinstance(other, Landmark):
                along, lateral = lane.local_coordinates(other.position)
                if lane.on_lane(other.position, along, lateral, margin=1):
                    found.append((along, other))
        return found

    def step(self: Any, dt: float) -> None:
        """Move every vehicle, then test the pairs that may touch."""
        self._rules(dt)
        for vehicle in self.vehicles:
            vehicle.step(dt)
        others = [*self.vehicles, *self.objects]
        count = len(self.vehicles)
        if not count:
            return
        position = np.array([other.position for other in others], np.float64)
        diagonal = np.array([other.diagonal for other in others])
        speed = np.array([vehicle.speed for vehicle in self.vehicles], np.float64)
        apart = np.linalg.norm(position[None, :] - position[:count, None], axis=-1)
        reach = (diagonal[:count, None] + diagonal) / 2 + speed[:, None] * dt + _SLACK_M
        # What is not a number is not known to be apart.
        near = np.triu(~(apart > reach), 1)
        for first, second in np.argwhere(near):
            self.vehicles[first].handle_collisions(others[second], dt)

    def _rules(self: Any, dt: float) -> None:
        """Traffic rules that are enforced before the vehicles move."""


class FastRoad(_Fast, Road):
    """A plain road."""


class _Foreseen:
    """A vehicle's prediction, made once per enforcement (upstream makes it for every pair)."""

    def __init__(self, vehicle: Any) -> None:
        self.LENGTH, self.WIDTH = vehicle.LENGTH, vehicle.WIDTH
        self._vehicle, self._found = vehicle, None

    def __deepcopy__(self, memo: dict[int, Any]) -> _Foreseen:
        """Predictions copy the whole road; these are no part of it."""
        return self

    def predict_trajectory_constant_speed(self, times: np.ndarray) -> Any:
        """As the vehicle's own; the times are the same in every call."""
        if self._found is None:
            self._found = self._vehicle.predict_trajectory_constant_speed(times)
        return self._found


class FastRegulatedRoad(_Fast, RegulatedRoad):
    """A road on which some vehicles give way."""

    _foreseen: dict[int, _Foreseen] | None = None

    def enforce_road_rules(self) -> None:
        """Find conflicts and who has to wait; nobody moves meanwhile."""
        self._foreseen = {id(vehicle): _Foreseen(vehicle) for vehicle in self.vehicles}
        try:
            super().enforce_road_rules()
        finally:
            self._foreseen = None

    def is_conflict_possible(self, v1: Any, v2: Any) -> bool:
        """True when the predicted ways of two vehicles meet."""
        known = self._foreseen
        pair = (v1, v2) if known is None else (known[id(v1)], known[id(v2)])
        return bool(RegulatedRoad.is_conflict_possible(*pair))

    def _rules(self, dt: float) -> None:
        self.steps += 1
        if self.steps % int(1 / dt / self.REGULATION_FREQUENCY) == 0:
            self.enforce_road_rules()


FAST = {Road: FastRoad, RegulatedRoad: FastRegulatedRoad}


def hasten(road: Any) -> None:
    """Give upstream's road the faster methods; one of another class is left as it is."""
    road.__class__ = FAST.get(type(road), type(road))
