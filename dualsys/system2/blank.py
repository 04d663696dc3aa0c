"""A request about nothing, to warm a planner up."""

from __future__ import annotations

import math

import numpy as np

from dualsys.blank import blank_observation
from dualsys.messages import PlanRequest
from dualsys.spec import WorldSpec


def blank_request(spec: WorldSpec, number: int) -> PlanRequest:
    """A request of no session about a black picture and a state of zeros."""
    seen = blank_observation(spec, number)
    still = np.clip(
        np.zeros((1, 1, len(spec.action)), np.float32), spec.action_low, spec.action_high
    )
    return PlanRequest(seen.stamp, number, seen, still, "warm up", math.nan, "none")
