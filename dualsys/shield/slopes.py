"""How far a number may go in one tick, when it changes by steps and its steps change by steps.

All in one unit and per tick; float64. The closed forms make limits that can always be kept: what is
allowed now never forces more than the limit later.
"""

from __future__ import annotations

import math


def steepest(distance: float, step: float) -> float:
    """The largest first step s with s + (s - step) + (s - 2 step) + ... <= `distance`.

    That is, how fast one may go towards an end that is `distance` away, when one can slow down by
    `step` per tick. Zero or negative distance: `distance`, all of it at once.
    """
    if distance <= 0 or math.isinf(distance) or math.isinf(step):
        return distance
    whole = math.floor((math.sqrt(1 + 8 * distance / step) - 1) / 2)
    # Rounding may put the root on the wrong side of a whole number; both sides then say the same.
    return (distance + step * whole * (whole + 1) / 2) / (whole + 1)


def stepwise(last: float, wanted: float, step: float) -> float:
    """`wanted`, but no further than `step` from `last`."""
    return min(max(wanted, last - step), last + step)


def smooth(
    last: float, before: float, wanted: float, step: float, low: float, high: float
) -> float:
    """`wanted`, but so that the change from `last` differs from the one before by at most `step`.

    And so that one can stop at `wanted`, and in the box [`low`, `high`], with such steps.
    """
    away = wanted - last
    slope = stepwise(last - before, math.copysign(steepest(abs(away), step), away), step)
    slope = min(slope, steepest(high - last, step))
    slope = max(slope, -steepest(last - low, step))
    return last + slope
