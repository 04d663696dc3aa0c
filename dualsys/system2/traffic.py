"""Traffic rules for the scripted planner: IDM, MOBIL and closest approach on the object list.

Sees what the request carries, the state and the objects in the ego's frame, and nothing else.
"""

from __future__ import annotations

import math

import numpy as np

from dualsys.messages import PlanRequest
from dualsys.spec import WorldSpec

HEADWAY_S, JAM_GAP_M = 1.3, 4.0
ACCELERATION, BRAKE = 2.5, 3.0  # IDM's a and b [m/s2]
CHANGE_GAIN = 0.5  # least advantage of a lane change [m/s2]
CONFLICT_S, CONFLICT_M = 3.0, 4.0  # look-ahead and closest approach of crossing traffic


class TrafficRule:
    """Chooses lane and speed intent; plans are those of the driving worlds."""

    def __init__(self, spec: WorldSpec) -> None:
        self._field = {name: i for i, name in enumerate(spec.scene_fields)}
        self._axis = {axis.name: i for i, axis in enumerate(spec.state)}

    def choose(self, request: PlanRequest) -> tuple[str, str]:
        """Return (plan, reason) for the observation of a request."""
        return self.judge(request.observation.state, request.observation.scene)

    def judge(self, state: np.ndarray, scene: np.ndarray) -> tuple[str, str]:
        """Return (plan, reason): yield, else a lane change, else follow, else cruise.

        state (S,) and scene (rows, fields) as in `Observation`.
        """
        objects = scene[scene[:, self._field["present"]] > 0]
        speed, cruise = self._read(state, "speed"), self._read(state, "cruise_speed")
        crossing = self._conflict_s(objects, speed)
        if crossing is not None:
            return "yield", f"crossing traffic comes close in {crossing:.1f} s"
        here = self._idm(objects, 0, speed, cruise)
        for side, plan, axis in (
            (-1, "change_left", "lane_to_left"),
            (1, "change_right", "lane_to_right"),
        ):
            if self._read(state, axis) < 0.5 or not self._free(objects, side, speed):
                continue
            gain = self._idm(objects, side, speed, cruise) - here
            if gain > CHANGE_GAIN:
                return plan, f"the other lane allows {gain:.1f} m/s2 more"
        if here < self._idm(objects[:0], 0, speed, cruise) - 0.3:
            return "follow", "the leader is slower"
        return "cruise", "the lane is free"

    def _read(self, state: np.ndarray, axis: str) -> float:
        return float(state[self._axis[axis]])

    def _column(self, objects: np.ndarray, name: str) -> np.ndarray:
        return objects[:, self._field[name]]

    def _lane(self, objects: np.ndarray, side: int) -> np.ndarray:
        return objects[np.abs(self._column(objects, "lane_offset") - side) < 0.5]

    def _idm(self, objects: np.ndarray, side: int, speed: float, cruise: float) -> float:
        free = 1 - (max(speed, 0.0) / max(cruise, 0.1)) ** 4
        ahead = self._lane(objects, side)
        ahead = ahead[self._column(ahead, "ahead_m") > 0]
        if not len(ahead):
            return max(ACCELERATION * free, -BRAKE)
        leader = ahead[self._column(ahead, "gap_m").argmin()][None]
        gap = max(float(self._column(leader, "gap_m")[0]), 0.5)
        closing = speed - float(self._column(leader, "ahead_mps")[0])
        room = JAM_GAP_M + speed * HEADWAY_S
        room += speed * closing / (2 * math.sqrt(ACCELERATION * BRAKE))
        return max(ACCELERATION * (free - (max(room, 0.0) / gap) ** 2), -5.0)

    def _free(self, objects: np.ndarray, side: int, speed: float) -> bool:
        lane = self._lane(objects, side)
        gap, ahead = self._column(lane, "gap_m"), self._column(lane, "ahead_m")
        other = self._column(lane, "ahead_mps")
        behind_room = 8 + 0.6 * other + 2.0 * np.maximum(0.0, other - speed)
        room = np.where(ahead > 0, 8 + 0.5 * speed, behind_room)
        return bool(np.all(np.abs(gap) > room))

    def _conflict_s(self, objects: np.ndarray, speed: float) -> float | None:
        """Time to the closest approach of a crossing vehicle [s]; None when none comes close."""
        crossing = np.abs(np.sin(self._column(objects, "heading_rad"))) > 0.3
        ahead = self._column(objects, "ahead_m") > 0
        soonest = None
        for thing in objects[crossing & ahead]:
            position = np.array([thing[self._field["ahead_m"]], thing[self._field["left_m"]]])
            velocity = np.array(
                [thing[self._field["ahead_mps"]] - speed, thing[self._field["left_mps"]]]
            )
            time_s = -float(position @ velocity) / max(float(velocity @ velocity), 1e-6)
            nearest = float(np.linalg.norm(position + max(time_s, 0.0) * velocity))
            if 0 <= time_s < CONFLICT_S and nearest < CONFLICT_M:
                soonest = time_s if soonest is None else min(soonest, time_s)
        return soonest
