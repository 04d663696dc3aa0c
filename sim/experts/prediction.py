"""Where the others will be: ways along their lanes at constant speed, and whether ours is clear."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from sim.driving.route import points_ahead

TIMES_S = np.arange(0.0, 4.01, 0.25)
_RANGE_M = 55.0
_MARGIN_M = 0.6


class Way(msgspec.Struct):
    """One vehicle's predicted positions (N, 2) and headings (N,) at `TIMES_S`, and its length."""

    positions: np.ndarray
    headings: np.ndarray
    length: float


def predicted_ways(ego: Any, road: Any) -> list[Way]:
    """Ways of the vehicles near the ego, those directly behind it left out (they follow)."""
    ways = []
    ahead = np.array([np.cos(ego.heading), np.sin(ego.heading)])
    for vehicle in road.vehicles:
        if vehicle is ego:
            continue
        offset = vehicle.position - ego.position
        side = abs(ahead[0] * offset[1] - ahead[1] * offset[0])
        if np.linalg.norm(offset) > _RANGE_M or (offset @ ahead < 0 and side < 3.0):
            continue
        ways.append(_predict(vehicle))
    return ways


def _predict(vehicle: Any) -> Way:
    route = [(a, b, lane or 0) for a, b, lane in getattr(vehicle, "route", None) or []]
    if route and vehicle.lane_index[:2] in [index[:2] for index in route]:
        positions, headings = points_ahead(
            vehicle, route, vehicle.lane_index, np.maximum(vehicle.speed, 0.0) * TIMES_S
        )
        return Way(positions, headings, vehicle.LENGTH)
    positions = vehicle.position + TIMES_S[:, None] * vehicle.velocity
    return Way(positions, np.full(len(TIMES_S), vehicle.heading), vehicle.LENGTH)


def clear_of(
    ego: Any, way: np.ndarray, way_m: np.ndarray, acceleration: float, others: list[Way]
) -> bool:
    """True when the ego, at constant acceleration along `way` (N, 2), touches no other's way.

    Bodies are rows of three discs, so that a long vehicle is not a fat one.
    """
    speed = np.maximum(ego.speed + acceleration * TIMES_S, 0.0)
    distance = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2 * np.diff(TIMES_S))])
    distance = np.minimum(distance, way_m[-1])
    x, y = np.interp(distance, way_m, way[:, 0]), np.interp(distance, way_m, way[:, 1])
    ahead = np.minimum(distance + 1.0, way_m[-1])
    heading = np.arctan2(
        np.interp(ahead, way_m, way[:, 1]) - y, np.interp(ahead, way_m, way[:, 0]) - x
    )
    ours = _discs(np.stack([x, y], -1), heading, ego.LENGTH)
    # The further ahead, the less is known: the margin grows.
    limit = ego.WIDTH + _MARGIN_M + 0.15 * TIMES_S
    for other in others:
        theirs = _discs(other.positions, other.headings, other.length)
        apart = np.linalg.norm(ours[:, :, None] - theirs[:, None], axis=-1).min((1, 2))
        if np.any(apart < limit):
            return False
    return True


def _discs(positions: np.ndarray, headings: np.ndarray, length: float) -> np.ndarray:
    along = np.stack([np.cos(headings), np.sin(headings)], -1)
    offsets = np.array([-1.0, 0.0, 1.0]) * length / 3
    discs: np.ndarray = positions[:, None] + offsets[None, :, None] * along[:, None]
    return discs
