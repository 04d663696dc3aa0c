"""The object list of a driving world in the ego's frame: what a perception stack would report."""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.driving.spec import SCENE_FIELDS, SCENE_ROWS

_RANGE_M = 100.0
_OTHER_ROAD = 99.0


def object_rows(ego: Any, road: Any) -> np.ndarray:
    """float32 (SCENE_ROWS, fields), nearest first, zero rows where there is nothing."""
    rows = np.zeros((SCENE_ROWS, len(SCENE_FIELDS)), np.float32)
    things = [*(v for v in road.vehicles if v is not ego), *(o for o in road.objects if o.solid)]
    positions = np.array([thing.position for thing in things]).reshape(-1, 2)
    distances = np.linalg.norm(positions - ego.position, axis=1)
    nearest = [i for i in np.argsort(distances, kind="stable") if distances[i] < _RANGE_M]
    cos, sin = np.cos(ego.heading), np.sin(ego.heading)
    to_ego = np.array([[cos, sin], [sin, -cos]])  # ahead, left (the simulator's y is to the right)
    ego_along, _ = ego.lane.local_coordinates(ego.position)
    for row, index in zip(rows, nearest, strict=False):
        thing = things[index]
        ahead, left = to_ego @ (thing.position - ego.position)
        velocity = to_ego @ thing.velocity
        heading = (ego.heading - thing.heading + np.pi) % (2 * np.pi) - np.pi
        lanes, gap = _lane_relation(ego, thing, ego_along, float(ahead))
        row[:] = (1.0, ahead, left, heading, *velocity, thing.LENGTH, thing.WIDTH, lanes, gap)
    return rows


def _lane_relation(ego: Any, thing: Any, ego_along: float, ahead: float) -> tuple[float, float]:
    along, lateral = ego.lane.local_coordinates(thing.position)
    lanes = round(lateral / ego.lane.width_at(0))
    same_way = -thing.LENGTH < along < ego.lane.length + _RANGE_M and abs(lanes) <= 4
    gap = np.sign(ahead) * max(0.0, abs(along - ego_along) - (ego.LENGTH + thing.LENGTH) / 2)
    return (float(lanes) if same_way else _OTHER_ROAD), float(gap)
