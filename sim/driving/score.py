"""nuPlan's closed-loop score of one drive, on what highway-env knows.

Score = no at-fault collision x drivable area x making progress x driving direction
        x (5 progress + 5 time to collision + 4 speed limit + 2 comfort) / 16
(nuPlan, arXiv 2106.11810 and its published metrics). Ours, where nuPlan needs a map or an expert:
progress is measured against going at cruise speed, the speed limit is 5% above it, and a body that
is hit from behind, or hit while it stands, is not at fault. Such a collision ends the drive all the
same: progress is then measured against the whole time that the scenario would have given.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

TIME_TO_COLLISION_S = 0.95
PROGRESS_LEAST = 0.2  # below it, the drive makes no progress
SPEEDING_MPS = 2.23  # mean excess over the limit that costs the whole term
LIMIT = 1.05  # of the cruise speed
WRONG_WAY_M = (2.0, 6.0)  # against the lane: half, nothing
COMFORT = {  # nuPlan's bounds: lowest, highest
    "longitudinal_mps2": (-4.05, 2.40),
    "lateral_mps2": (-4.89, 4.89),
    "yaw_rate_rps": (-0.95, 0.95),
    "yaw_acceleration_rps2": (-1.93, 1.93),
    "longitudinal_jerk_mps3": (-4.13, 4.13),
    "jerk_mps3": (-8.37, 8.37),
}
SMOOTHED_TICKS, ORDER = 9, 2  # nuPlan smooths with Savitzky-Golay before it differentiates


def closed_loop_score(ticks: Mapping[str, np.ndarray], rate_hz: float) -> dict[str, float]:
    """Score of a drive and its factors and terms, each from 0 to 1.

    ticks: (T,) each: speed_mps, cruise_mps, heading_rad (any origin), lane_error_rad (heading
    against the lane's), offroad and at_fault (0 or 1), ttc_s (time to collision), lost_s (driving
    time that a collision took).
    """
    period = 1.0 / rate_hz
    speed, cruise = ticks["speed_mps"], ticks["cruise_mps"]
    moved = speed * period
    along = moved * np.cos(ticks["lane_error_rad"])
    back = -float(np.minimum(along, 0.0).sum())
    whole = (cruise * period).sum() + cruise[-1] * ticks["lost_s"][-1]
    progress = float(np.clip(along.sum() / max(whole, 1e-6), 0.0, 1.0))
    excess = np.maximum(speed - LIMIT * cruise, 0.0)
    found = {
        "collision": 1.0 - float(ticks["at_fault"].max()),
        "drivable": 1.0 - float(ticks["offroad"].max()),
        "moving": float(progress >= PROGRESS_LEAST),
        "direction": 1.0 if back < WRONG_WAY_M[0] else 0.5 if back < WRONG_WAY_M[1] else 0.0,
        "progress": progress,
        "ttc": float(ticks["ttc_s"].min() >= TIME_TO_COLLISION_S),
        "speed": float(np.clip(1.0 - excess.mean() / SPEEDING_MPS, 0.0, 1.0)),
        "comfort": float(all(comfortable(speed, ticks["heading_rad"], rate_hz).values())),
    }
    weighted = 5 * found["progress"] + 5 * found["ttc"] + 4 * found["speed"] + 2 * found["comfort"]
    factors = ("collision", "drivable", "moving", "direction")
    found["score"] = float(np.prod([found[name] for name in factors])) * weighted / 16
    return found


def comfortable(speed: np.ndarray, heading: np.ndarray, rate_hz: float) -> dict[str, bool]:
    """Which comfort bounds the whole drive kept to; speed [m/s] and heading [rad] are (T,)."""
    if len(speed) < SMOOTHED_TICKS:
        return dict.fromkeys(COMFORT, True)  # too short to differentiate
    turned = np.unwrap(heading)
    yaw_rate = _slope(turned, 1, rate_hz)
    along = _slope(speed, 1, rate_hz)
    across = speed * yaw_rate
    jerk = np.hypot(_slope(speed, 2, rate_hz), _slope(across, 1, rate_hz))
    values = {
        "longitudinal_mps2": along,
        "lateral_mps2": across,
        "yaw_rate_rps": yaw_rate,
        "yaw_acceleration_rps2": _slope(turned, 2, rate_hz),
        "longitudinal_jerk_mps3": _slope(speed, 2, rate_hz),
        "jerk_mps3": jerk,
    }
    return {
        name: bool((values[name] >= low).all() and (values[name] <= high).all())
        for name, (low, high) in COMFORT.items()
    }


def _slope(values: np.ndarray, order: int, rate_hz: float) -> np.ndarray:
    from scipy.signal import savgol_filter

    slope: np.ndarray = savgol_filter(
        values, SMOOTHED_TICKS, ORDER, deriv=order, delta=1.0 / rate_hz
    )
    return slope
