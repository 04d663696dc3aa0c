"""The road users around a vehicle, as bounds on its acceleration and its steering.

Reads the object list that a perception stack reports (`WorldSpec.scene`, the ego's frame: x ahead,
y left). The road ahead is taken to bend as the wanted steering does. Whoever is too near both along
the road and across it is answered where an answer helps: by the brake while he is ahead, by the
steering while he is beside.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from dualsys.limits import RssLimit
from dualsys.shield.rss import distance_beside, most_acceleration, travel
from dualsys.spec import WorldSpec

FIELDS = (
    "present",
    "ahead_m",
    "left_m",
    "heading_rad",
    "ahead_mps",
    "left_mps",
    "length_m",
    "width_m",
)


class Other(msgspec.Struct, frozen=True):
    """Somebody as the ego's path meets him: metres between the bodies, metres per second.

    `along` is negative where the bodies overlap along the road; `behind` says that he is past.
    `side` is 1 to the left of the path and -1 to the right, `towards` his speed towards it, and
    `brake` what he brakes with across the path.
    """

    along: float
    across: float
    behind: bool
    side: int
    speed: float
    towards: float
    brake: float


class Traffic:
    """Bounds on a command, from where the others are."""

    def __init__(self, spec: WorldSpec, rss: RssLimit, axle_m: float) -> None:
        self._rss, self._axle = rss, axle_m
        self._fields = [spec.scene_fields.index(name) for name in FIELDS]

    def bounds(
        self, speed: float, drift: float, steering: float, last: float, scene: np.ndarray
    ) -> tuple[float, float, float]:
        """Most acceleration [m/s2], least and most steering [rad, positive to the right].

        `speed` [m/s] along the ego's heading, `drift` [m/s] to the left across its lane, `steering`
        wanted and `last` in force [rad], `scene` (rows, fields). A row that is not finite tells
        nothing.
        """
        most, least_steering, most_steering = math.inf, -math.inf, math.inf
        bend = curvature(steering, self._axle)
        for row in scene[:, self._fields].astype(float):
            other = self._other(row, bend)
            if other is None or other.behind or self._apart(other, drift):
                continue
            if other.along > 0:
                most = min(most, self._acceleration(speed, other))
            elif other.side > 0:
                least_steering = max(least_steering, last + self._away(speed, drift))
            else:
                most_steering = min(most_steering, last - self._away(speed, -drift))
        return most, min(least_steering, most_steering), max(least_steering, most_steering)

    def _other(self, row: np.ndarray, bend: float) -> Other | None:
        """Where a row of the scene is against the path; None for nobody, or out of its reach."""
        present, ahead, left, heading, ahead_mps, left_mps, length, width = row
        if not np.isfinite(row).all() or present <= 0 or ahead * abs(bend) >= 1:
            return None
        reach = max(ahead, 0.0)
        left += bend * reach * reach / 2  # from the path: it bends away to the right
        side = 1 if left > 0 else -1
        along, across = abs(math.cos(heading)), abs(math.sin(heading))
        half_along = (along * length + across * width + self._rss.length_m) / 2
        half_across = (across * length + along * width + self._rss.width_m) / 2
        return Other(
            along=ahead - half_along,
            across=abs(left) - half_across,
            behind=ahead < -half_along,
            side=side,
            speed=ahead_mps,
            towards=-side * (left_mps + bend * reach * ahead_mps),
            brake=along * self._rss.sideways_brake + across * self._rss.brake,
        )

    def _apart(self, other: Other, drift: float) -> bool:
        """Whether there is room across the road; the ego keeps to its path until it is beside."""
        rss = self._rss
        ours = other.side * drift if other.along <= 0 else 0.0
        needed = distance_beside(
            ours,
            other.towards,
            rss.response_s,
            rss.sideways_accelerate,
            rss.sideways_brake,
            other.brake,
        )
        return other.across >= rss.sideways_margin_m + needed

    def _acceleration(self, speed: float, other: Other) -> float:
        rss = self._rss
        free = other.along - rss.standing_gap_m
        if other.speed >= 0:
            free += other.speed**2 / (2 * rss.others_brake)
        else:
            free -= travel(-other.speed, rss.response_s, rss.accelerate, rss.others_brake)
        return most_acceleration(max(0.0, speed), free, rss.response_s, rss.brake)

    def _away(self, speed: float, towards: float) -> float:
        """By how much to steer away: enough to brake `towards` as promised, or not at all."""
        if towards <= 0:
            return 0.0
        bend = min(self._rss.sideways_brake / max(speed, 1.0) ** 2, 0.5 / self._axle)
        return steering_for(bend, self._axle)


def curvature(steering: float, axle: float) -> float:
    """Curvature [1/m] of the path of a bicycle that steers about its middle; right is positive."""
    return math.sin(math.atan(math.tan(steering) / 2)) / axle


def steering_for(bend: float, axle: float) -> float:
    """The steering [rad] for a curvature [1/m], the inverse of `curvature`; |bend| axle below 1."""
    return math.atan(2 * math.tan(math.asin(bend * axle)))
