"""What a plant can bear, beyond the box of its commands: how fast, how far, how near to others.

They belong to the plant, not to the networks: a checkpoint fits a world whatever the limits are.
Only the shield enforces them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import msgspec

from dualsys.errors import SpecMismatchError


class AxisLimit(msgspec.Struct, frozen=True, kw_only=True):
    """One action axis. Its unit is u; where a number is None, nothing is limited.

    `rate` [u/s] is how quickly the command may change, `rate_change` [u/s2] how quickly that may.
    For a commanded acceleration these are jerk and snap, for a commanded velocity acceleration and
    jerk. `fallback_rate` [u/s] is the gentler rate at which the fallback is approached.
    `reduced_low` and `reduced_high` [u] are the box while guidance is overdue.
    `moves` names the state axis that the command adds up in, `gain` how much one tick of one unit
    adds, and `low` and `high` are how far that state may go: a workspace, or a speed.
    """

    rate: float | None = None
    rate_change: float | None = None
    fallback_rate: float | None = None
    reduced_low: float | None = None
    reduced_high: float | None = None
    moves: str = ""
    gain: float = 0.0
    low: float | None = None
    high: float | None = None


class RssLimit(msgspec.Struct, frozen=True, kw_only=True):
    """Responsibility-sensitive safety (arXiv 1708.06374), for a world that moves as a bicycle.

    `response_s`: until the ego answers; `accelerate` [m/s2]: the most others speed up meanwhile;
    `brake`: what the ego brakes with; `others_brake`: the most that others do; the same sideways
    with `sideways_accelerate`, `sideways_brake` and `sideways_margin_m`; `standing_gap_m`: kept at
    rest; `length_m`, `width_m`: the ego's body.
    """

    response_s: float
    accelerate: float
    brake: float
    others_brake: float
    sideways_accelerate: float
    sideways_brake: float
    sideways_margin_m: float
    standing_gap_m: float
    length_m: float
    width_m: float


class PlantLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a world's plant: one `AxisLimit` per action axis, and two of a vehicle.

    `lateral_acceleration` [m/s2] bounds the steering at speed, `axle_m` is half the wheelbase of
    the bicycle that steers about its middle.
    """

    axes: tuple[AxisLimit, ...]
    lateral_acceleration: float | None = None
    axle_m: float = 2.5
    rss: RssLimit | None = None


def check_limits(
    limits: PlantLimits, action: Sequence[str], state: Sequence[str], motion: str
) -> None:
    """Raise `SpecMismatchError` for limits that can not be kept, or do not fit the axes named."""
    if len(limits.axes) != len(action):
        raise SpecMismatchError(
            f"the limits have {len(limits.axes)} axes, the action has {len(action)} "
            f"({', '.join(action)}); give one AxisLimit for each"
        )
    for name, axis in zip(action, limits.axes, strict=True):
        _check_axis(name, axis, state)
    vehicle = limits.lateral_acceleration is not None or limits.rss is not None
    lacking = [name for name in ("acceleration", "steering") if name not in action]
    lacking += [name for name in ("speed", "lane_heading_error") if name not in state]
    if vehicle and (motion != "bicycle" or lacking):
        raise SpecMismatchError(
            "limits on lateral acceleration and distance are for a world that moves as a bicycle, "
            "with the actions acceleration and steering and the state axes speed and "
            f"lane_heading_error; this one moves as {motion!r} and lacks {lacking}"
        )
    for name, value in _positive(limits):
        if not 0 < value < math.inf:
            raise SpecMismatchError(f"the limit {name} is {value}, a positive number is needed")


def _check_axis(name: str, axis: AxisLimit, state: Sequence[str]) -> None:
    for low, high, what in (
        (axis.low, axis.high, "low and high"),
        (axis.reduced_low, axis.reduced_high, "reduced_low and reduced_high"),
    ):
        ends = [-math.inf if low is None else low, math.inf if high is None else high]
        if any(math.isnan(end) for end in ends) or not ends[0] < ends[1]:
            raise SpecMismatchError(f"{what} of the limits of {name} are {low} and {high}")
    if axis.moves and (axis.moves not in state or not 0 < abs(axis.gain) < math.inf):
        raise SpecMismatchError(
            f"the limits of {name} say that it moves {axis.moves!r} by {axis.gain} per tick; the "
            f"state has {', '.join(state)}, and the gain is a number other than zero"
        )
    if not axis.moves and (axis.low is not None or axis.high is not None):
        raise SpecMismatchError(
            f"the limits of {name} bound what it moves, and do not say which state axis that is"
        )


def _positive(limits: PlantLimits) -> Iterator[tuple[str, float]]:
    """Every number that has to be positive, with its name."""
    for index, axis in enumerate(limits.axes):
        for field in ("rate", "rate_change", "fallback_rate"):
            value = getattr(axis, field)
            if value is not None:
                yield f"axes[{index}].{field}", value
    yield "axle_m", limits.axle_m
    if limits.lateral_acceleration is not None:
        yield "lateral_acceleration", limits.lateral_acceleration
    if limits.rss is not None:
        for field in limits.rss.__struct_fields__:
            yield f"rss.{field}", getattr(limits.rss, field)
