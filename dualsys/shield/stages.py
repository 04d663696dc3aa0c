"""The limits of a plant, each a function of the command wanted and of how the plant moves. Pure.

They are applied one after the other, the more important ones later: what the plant can not do at
all (its box, its rates) has the last word.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from dualsys.limits import AxisLimit, PlantLimits, RssLimit
from dualsys.shield.slopes import smooth, steepest, stepwise
from dualsys.shield.traffic import Traffic, steering_for
from dualsys.spec import WorldSpec


class Motion(msgspec.Struct, frozen=True):
    """How the plant moves: the last two commands float64 (A,), what is believed of its state.

    `state` float64 (S,), None as long as nothing is known; `scene` float32 (rows, fields).
    """

    last: np.ndarray
    before: np.ndarray
    state: np.ndarray | None
    scene: np.ndarray
    reduced: bool = False  # guidance is overdue: the smaller box


Stage = Callable[[np.ndarray, Motion], np.ndarray]


def rates_per_tick(axes: Sequence[AxisLimit], rate_hz: float) -> np.ndarray:
    """By how much each axis may change in a tick, float64 (A,); infinite where no rate is given."""
    return np.array([math.inf if axis.rate is None else axis.rate / rate_hz for axis in axes])


def stages(spec: WorldSpec, off: tuple[str, ...]) -> tuple[tuple[str, Stage], ...]:
    """The limits of a plant in the order in which they are applied, each with its name.

    `off` are the groups left out: rate, workspace, lateral, rss.
    """
    limits = spec.limits
    box = ("position_limit", Box(spec))
    if limits is None:
        return (box,)
    made: list[tuple[str, str, Stage]] = [
        ("", "reduced", Reduced(limits)),
        ("rate", "rate_change_limit", Smooth(spec, limits)),
    ]
    if limits.rss is not None:
        made.append(("rss", "distance", Distance(spec, limits, limits.rss)))
    made.append(("workspace", "workspace", Workspace(spec, limits)))
    if limits.lateral_acceleration is not None:
        lateral = Lateral(spec, limits.lateral_acceleration, limits.axle_m)
        made.append(("lateral", "lateral_acceleration", lateral))
    made.append(("rate", "rate_limit", Gradual(spec, limits)))
    return (*((name, stage) for group, name, stage in made if group not in off), box)


class Box:
    """Every axis inside the limits of the action."""

    def __init__(self, spec: WorldSpec) -> None:
        self._low, self._high = (
            end.astype(np.float64) for end in (spec.action_low, spec.action_high)
        )

    def __call__(self, wanted: np.ndarray, motion: Motion) -> np.ndarray:
        """The nearest command in the box."""
        return wanted.clip(self._low, self._high)


class Reduced:
    """The smaller box, while guidance is overdue."""

    def __init__(self, limits: PlantLimits) -> None:
        ends = [(axis.reduced_low, axis.reduced_high) for axis in limits.axes]
        self._low = np.array([-math.inf if low is None else low for low, _ in ends])
        self._high = np.array([math.inf if high is None else high for _, high in ends])

    def __call__(self, wanted: np.ndarray, motion: Motion) -> np.ndarray:
        """The nearest command in the smaller box, if it is in force."""
        return wanted.clip(self._low, self._high) if motion.reduced else wanted


class Gradual:
    """No axis changes by more than its rate: jerk of an acceleration, acceleration of a speed."""

    def __init__(self, spec: WorldSpec, limits: PlantLimits) -> None:
        self._steps = rates_per_tick(limits.axes, spec.control_rate_hz)

    def __call__(self, wanted: np.ndarray, motion: Motion) -> np.ndarray:
        """The nearest command that the last one can change to."""
        return wanted.clip(motion.last - self._steps, motion.last + self._steps)


class Smooth:
    """No axis changes its change by more than allowed, and can still stay in the box so."""

    def __init__(self, spec: WorldSpec, limits: PlantLimits) -> None:
        ticks = spec.control_rate_hz**2
        self._steps = [
            (index, axis.rate_change / ticks)
            for index, axis in enumerate(limits.axes)
            if axis.rate_change is not None
        ]
        self._low, self._high = (
            end.astype(np.float64) for end in (spec.action_low, spec.action_high)
        )

    def __call__(self, wanted: np.ndarray, motion: Motion) -> np.ndarray:
        """The nearest command in a smooth line with the last two."""
        limited = wanted.copy()
        for axis, step in self._steps:
            limited[axis] = smooth(
                motion.last[axis],
                motion.before[axis],
                wanted[axis],
                step,
                self._low[axis],
                self._high[axis],
            )
        return limited


class Workspace:
    """What an axis adds up in stays inside its ends: a place in the workspace, a speed in range.

    Towards an end an axis may only go as fast as its rate can still stop.
    """

    def __init__(self, spec: WorldSpec, limits: PlantLimits) -> None:
        names = [axis.name for axis in spec.state]
        steps = rates_per_tick(limits.axes, spec.control_rate_hz)
        self._axes = [
            (index, names.index(axis.moves), axis, float(step))
            for index, (axis, step) in enumerate(zip(limits.axes, steps, strict=True))
            if axis.moves
        ]

    def __call__(self, wanted: np.ndarray, motion: Motion) -> np.ndarray:
        """The nearest command that keeps inside; `wanted` while nothing is known of the state."""
        if motion.state is None:
            return wanted
        limited = wanted.copy()
        for index, state, axis, step in self._axes:
            at = float(motion.state[state])
            ends = [-math.inf if axis.low is None else axis.low - at,
                    math.inf if axis.high is None else axis.high - at]  # fmt: skip
            back, forth = sorted(end / axis.gain for end in ends)
            least, most = -steepest(-back, step), steepest(forth, step)
            limited[index] = min(max(limited[index], least), most)
        return limited


class Lateral:
    """The steering at speed: no more acceleration to the side than the tyres can hold."""

    def __init__(self, spec: WorldSpec, most: float, axle_m: float) -> None:
        self._steering = [axis.name for axis in spec.action].index("steering")
        self._speed = [axis.name for axis in spec.state].index("speed")
        self._most, self._axle = most, axle_m

    def __call__(self, wanted: np.ndarray, motion: Motion) -> np.ndarray:
        """The nearest steering that the present speed allows."""
        if motion.state is None:
            return wanted
        speed = float(motion.state[self._speed])
        bend = min(self._most / max(speed * speed, 1e-9), 0.999 / self._axle)
        limited, most = wanted.copy(), steering_for(bend, self._axle)
        limited[self._steering] = stepwise(0.0, wanted[self._steering], most)
        return limited


class Distance:
    """Acceleration and steering as the road users around allow (see `Traffic`)."""

    def __init__(self, spec: WorldSpec, limits: PlantLimits, rss: RssLimit) -> None:
        action, state = ([axis.name for axis in axes] for axes in (spec.action, spec.state))
        self._acceleration, self._steering = action.index("acceleration"), action.index("steering")
        self._speed, self._error = state.index("speed"), state.index("lane_heading_error")
        self._traffic = Traffic(spec, rss, limits.axle_m)

    def __call__(self, wanted: np.ndarray, motion: Motion) -> np.ndarray:
        """The nearest command that keeps the distances, as far as one can."""
        if motion.state is None:
            return wanted
        speed = float(motion.state[self._speed])
        drift = -speed * math.sin(float(motion.state[self._error]))
        steering = float(wanted[self._steering])
        last = float(motion.last[self._steering])
        most, left, right = self._traffic.bounds(speed, drift, steering, last, motion.scene)
        limited = wanted.copy()
        limited[self._acceleration] = min(wanted[self._acceleration], most)
        limited[self._steering] = min(max(steering, left), right)
        return limited
