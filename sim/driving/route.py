"""The ego's way through the road network, as lane indices and as points ahead of it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

LaneIndex = tuple[str, str, int]


def route_ahead(vehicle: Any, destination: str) -> list[LaneIndex]:
    """Lane indices from the vehicle's lane on: to `destination`, or while the way is unique."""
    network = vehicle.road.network
    start = vehicle.lane_index
    if destination:
        nodes = network.shortest_path(start[1], destination)
        return [start, *((a, b, 0) for a, b in itertools.pairwise(nodes))]
    route, seen = [start], {start[:2]}
    while True:
        ends = list(network.graph.get(route[-1][1], {}))
        step = (route[-1][1], ends[0]) if len(ends) == 1 else None
        if step is None or step in seen:
            return route
        seen.add(step)
        lanes = len(network.graph[step[0]][step[1]])
        route.append((*step, min(route[-1][2], lanes - 1)))


def points_ahead(
    vehicle: Any, route: list[LaneIndex], lane: LaneIndex, distances: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 2) [m] and headings (N,) [rad] on the way, `distances` [m] ahead of the vehicle.

    The way begins on `lane` (the vehicle's or a neighbour) and follows `route`; rings are closed.
    """
    network = vehicle.road.network
    current = network.get_lane(lane)
    along, _ = current.local_coordinates(vehicle.position)
    nodes = [index[:2] for index in route]
    points, headings = [], []
    begin = -along  # distance ahead at which the current lane begins
    for distance in distances:
        while distance - begin > current.length:
            following = _following(network, route, nodes, lane)
            if following is None:
                break
            begin += current.length
            lane, current = following, network.get_lane(following)
        points.append(current.position(distance - begin, 0))
        headings.append(current.heading_at(distance - begin))
    return np.array(points), np.array(headings)


def _following(
    network: Any, route: list[LaneIndex], nodes: list[tuple[str, str]], lane: LaneIndex
) -> LaneIndex | None:
    if lane[:2] in nodes:
        place = nodes.index(lane[:2])
        if place + 1 < len(route):
            step = nodes[place + 1]
        elif route[0][0] == lane[1]:
            step = nodes[0]  # a closed track
        else:
            return None
    else:  # beside the route: join it where the lane ends, if it can be
        joins = [n for n in nodes if n[0] == lane[1]]
        ends = list(network.graph.get(lane[1], {}))
        if not joins and not ends:
            return None
        step = joins[0] if joins else (lane[1], ends[0])
    lanes = len(network.graph[step[0]][step[1]])
    return (*step, min(lane[2], lanes - 1))
