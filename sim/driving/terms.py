"""How good a stretch of driving was: safety, comfort, efficiency and economy, each from 0 to 1.

The four terms are FASIONAD++'s (arXiv 2503.08162); their formulas are not published, these are
ours. The jerk bound is nuPlan's.
"""

from __future__ import annotations

import msgspec
import numpy as np

JERK_BOUND = 8.37  # nuPlan's comfort bound [m/s3]
TIME_TO_COLLISION_S = 0.95  # nuPlan's bound
EGO_LENGTH_M, EGO_WIDTH_M = 5.0, 2.0  # highway-env's vehicles
DISCS = 7  # along a body: a 12 m truck has no gap between them
HARDEST = 5.0  # acceleration limit of the driving worlds [m/s2]


class Terms(msgspec.Struct, frozen=True):
    """The four terms of one stretch; 1 is best."""

    safety: float
    comfort: float
    efficiency: float
    economy: float

    def score(self, weights: Terms) -> float:
        """The weighted mean of the terms; without safety nothing else counts."""
        names = self.__struct_fields__
        total = sum(getattr(weights, name) for name in names)
        mean = sum(getattr(self, name) * getattr(weights, name) for name in names) / total
        return mean if self.safety > 0 else 0.0


WEIGHTS = Terms(safety=2.0, comfort=1.0, efficiency=2.0, economy=0.5)  # where none are given


def terms(
    speed: np.ndarray,
    cruise_mps: float,
    acceleration: np.ndarray,
    closest_s: np.ndarray,
    harmed: bool,
    rate_hz: float,
) -> Terms:
    """Terms of T ticks: speed [m/s], acceleration [m/s2], time to collision [s], all (T,).

    safety: 0 when harmed, else 1/2 and half the share of ticks above nuPlan's time to collision;
    comfort: 1 minus the mean jerk against its bound; efficiency: mean speed against cruise;
    economy: 1 minus the mean acceleration against the limit.
    """
    jerk = np.abs(np.diff(acceleration)) * rate_hz if len(acceleration) > 1 else np.zeros(1)
    return Terms(
        safety=0.0 if harmed else 0.5 + 0.5 * float(np.mean(closest_s > TIME_TO_COLLISION_S)),
        comfort=1.0 - float(np.mean(np.minimum(jerk / JERK_BOUND, 1.0))),
        efficiency=float(np.clip(np.mean(speed) / max(cruise_mps, 0.1), 0.0, 1.0)),
        economy=1.0 - float(np.mean(np.minimum(np.abs(acceleration) / HARDEST, 1.0))),
    )


def time_to_collision_s(scene: np.ndarray, fields: tuple[str, ...], speed_mps: float) -> float:
    """Time [s] until the ego's and another body touch if both go straight on; inf if never.

    scene (rows, fields) as in `Observation`. Bodies are rows of discs as wide as they are: exact
    along a lane, rounded at the corners.
    """
    at = {name: i for i, name in enumerate(fields)}
    objects = scene[scene[:, at["present"]] > 0].astype(float)
    if not len(objects):
        return float("inf")
    heading, width = objects[:, at["heading_rad"]], objects[:, at["width_m"]]
    along = np.stack([np.cos(heading), np.sin(heading)], -1)
    theirs = objects[:, [at["ahead_m"], at["left_m"]]][:, None] + (
        _disc_offsets(objects[:, at["length_m"]], width)[..., None] * along[:, None]
    )
    ours = _disc_offsets(np.array([EGO_LENGTH_M]), np.array([EGO_WIDTH_M]))[0]
    position = theirs[:, :, None] - np.stack([ours, np.zeros(DISCS)], -1)  # (objects, D, D, 2)
    velocity = objects[:, [at["ahead_mps"], at["left_mps"]]] - [speed_mps, 0.0]
    radius = (width + EGO_WIDTH_M) / 2
    # |p + v t| = r, the smaller root.
    a = (velocity**2).sum(1)[:, None, None]
    b = (position * velocity[:, None, None]).sum(-1)
    c = (position**2).sum(-1) - (radius**2)[:, None, None]
    inside = b**2 - a * c
    meets = (a > 1e-9) & (inside >= 0) & (b < 0)
    time_s = np.where(
        meets, (-b - np.sqrt(np.maximum(inside, 0))) / np.where(meets, a, 1.0), np.inf
    )
    return float(np.maximum(np.where(c <= 0, 0.0, time_s), 0.0).min())


def _disc_offsets(length: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Where the centres of a body's discs are along it, (bodies, DISCS) [m]."""
    reach = np.maximum(length - width, 0.0) / 2
    offsets: np.ndarray = reach[:, None] * np.linspace(-1.0, 1.0, DISCS)
    return offsets
