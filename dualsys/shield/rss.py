"""Responsibility-sensitive safety: the distances that leave nobody at fault who keeps them.

Closed formulas of Shalev-Shwartz, Shammah and Shashua 2017 (arXiv 1708.06374). Metres, seconds;
float64; speeds along the road are of the ego's direction, speeds across it of the direction named.
"""

from __future__ import annotations

import math


def distance_behind(
    rear: float, front: float, response: float, accelerate: float, brake: float, others: float
) -> float:
    """Safe distance [m] behind a vehicle that goes the same way (definition 1).

    `rear` and `front` are the speeds. The rear one may speed up by `accelerate` for `response`
    seconds and then brakes with `brake`, while the front one brakes with `others`.
    """
    return max(0.0, travel(rear, response, accelerate, brake) - front * abs(front) / (2 * others))


def distance_opposite(
    ours: float, theirs: float, response: float, accelerate: float, brake: float, others: float
) -> float:
    """Safe distance [m] to a vehicle that comes towards the ego (definition 2).

    Both speeds are positive towards each other; both may speed up by `accelerate` for `response`
    seconds, then the ego brakes with `brake` and the other one with `others`.
    """
    return travel(ours, response, accelerate, brake) + travel(theirs, response, accelerate, others)


def distance_beside(
    towards: float,
    their_towards: float,
    response: float,
    accelerate: float,
    brake: float,
    others: float,
) -> float:
    """Safe distance [m] across the road, without the margin (definition 6).

    `towards` and `their_towards` are the speeds across the road, each positive towards the other;
    `brake` and `others` what the ego and the other one brake with across the road.
    """
    return max(
        0.0,
        travel(towards, response, accelerate, brake)
        + travel(their_towards, response, accelerate, others),
    )


def travel(speed: float, response: float, accelerate: float, brake: float) -> float:
    """How far [m] one gets who speeds up for `response` seconds and then brakes to rest; signed."""
    after = speed + response * accelerate
    return (speed + after) / 2 * response + after * abs(after) / (2 * brake)


def most_acceleration(speed: float, free: float, response: float, brake: float) -> float:
    """The largest acceleration [m/s2], held for `response` seconds, that can still be taken back.

    That is, the largest a for which v t + a t^2 / 2 + (v + a t)^2 / (2 b) is no more than the
    `free` distance [m]: `distance_behind` solved for the acceleration. At least -`brake`: more can
    not be done.
    """
    reach = brake * response
    room = 2 * brake * free - reach * speed
    if room < 0:
        return -brake  # it has to stand before the time is over
    after = (math.sqrt(reach * reach + 4 * room) - reach) / 2
    return max(-brake, (after - speed) / response)
