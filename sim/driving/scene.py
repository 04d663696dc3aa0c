"""The object list of a driving world in the ego's frame: what a perception stack would report."""

from __future__ import annotations

from typing import Any

import numpy as np

from sim.driving.spec import SCENE_FIELDS, SCENE_ROWS

_RANGE_M = 100.0
_OTHER_ROAD = 99.0


def visible(ego: Any, road: Any) -> list[Any]:
    """Vehicles and solid objects that the ego can see: not those behind something that hides."""
    things = [*(v for v in road.vehicles if v is not ego), *(o for o in road.objects if o.solid)]
    screens = [thing for thing in things if getattr(thing, "occludes", False)]
    return [t for t in things if not any(_hides(s, ego.position, t) for s in screens if s is not t)]


def _hides(screen: Any, eye: np.ndarray, thing: Any) -> bool:
    """True when the line of sight to the middle of a thing passes through the screen's body."""
    cos, sin = np.cos(screen.heading), np.sin(screen.heading)
    frame = np.array([[cos, sin], [-sin, cos]])
    begin, end = frame @ (eye - screen.position), frame @ (thing.position - screen.position)
    half = np.array([screen.LENGTH, screen.WIDTH]) / 2
    along = end - begin
    with np.errstate(divide="ignore", invalid="ignore"):
        sides = np.sort(np.stack([(-half - begin) / along, (half - begin) / along]), axis=0)
    inside = np.abs(begin) <= half
    sides[0] = np.where(along == 0, np.where(inside, -np.inf, np.inf), sides[0])
    sides[1] = np.where(along == 0, np.where(inside, np.inf, -np.inf), sides[1])
    enters, leaves = max(sides[0].max(), 0.0), min(sides[1].min(), 1.0)
    return bool(enters < leaves)


def object_rows(ego: Any, things: list[Any]) -> np.ndarray:
    """float32 (SCENE_ROWS, fields) of `things`, nearest first, zero rows where there is nothing."""
    rows = np.zeros((SCENE_ROWS, len(SCENE_FIELDS)), np.float32)
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
