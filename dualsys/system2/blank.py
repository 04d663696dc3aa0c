"""A request about nothing, to warm a planner up."""

from __future__ import annotations

import math

import numpy as np

from dualsys.messages import Observation, PlanRequest, Stamp
from dualsys.spec import WorldSpec


def blank_request(spec: WorldSpec, number: int) -> PlanRequest:
    """A request of no session about a black picture and a state of zeros."""
    stamp = Stamp(0, 0, number, number, 0)
    images = {c.name: np.zeros((c.height, c.width, c.channels), np.uint8) for c in spec.cameras}
    observation = Observation(
        stamp=stamp,
        images=images,
        image_ticks=dict.fromkeys(images, number),
        state=np.zeros(len(spec.state), np.float32),
        scene=np.zeros((spec.scene_rows, len(spec.scene_fields)), np.float32),
        instruction="",
    )
    still = np.clip(
        np.zeros((1, 1, len(spec.action)), np.float32), spec.action_low, spec.action_high
    )
    return PlanRequest(stamp, number, observation, still, "warm up", math.nan, "none")
