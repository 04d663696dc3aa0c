"""Whether observations and guidance are what the world's specification promises."""

from __future__ import annotations

import numpy as np

from dualsys.errors import SpecMismatchError
from dualsys.messages import Guidance, Observation
from dualsys.spec import WorldSpec


def check_observation(observation: Observation, spec: WorldSpec) -> None:
    """Raise `SpecMismatchError` naming both sides unless `observation` is what `spec` promises."""
    expected = {c.name: (c.height, c.width, c.channels) for c in spec.cameras}
    if set(observation.images) != set(expected):
        raise SpecMismatchError(
            f"the world's specification has cameras {sorted(expected)}, the observation of tick "
            f"{observation.stamp.tick} has {sorted(observation.images)}; rename or add cameras"
        )
    for name, image in observation.images.items():
        if image.shape != expected[name] or image.dtype != np.uint8:
            raise SpecMismatchError(
                f"camera {name!r} must be uint8 {expected[name]}, the observation of tick "
                f"{observation.stamp.tick} has {image.dtype.name} {image.shape}; resize it first"
            )
    state = observation.state
    if state.shape != (len(spec.state),) or state.dtype != np.float32:
        raise SpecMismatchError(
            f"the state must be float32 {(len(spec.state),)} ({[a.name for a in spec.state]}), "
            f"the observation has {state.dtype.name} {state.shape}"
        )
    if not np.isfinite(state).all():
        bad = [a.name for a, v in zip(spec.state, state, strict=True) if not np.isfinite(v)]
        raise SpecMismatchError(
            f"state axes {bad} of tick {observation.stamp.tick} are not finite, finite numbers "
            "were expected; mend the sensor or the world"
        )


def guidance_fault(guidance: Guidance, spec: WorldSpec, code_size: int) -> str | None:
    """Why System 1 must not use `guidance`, in one word; None when it may.

    `code_size` is the longest plan vector that it takes. A planner may be of another world, broken
    or lying: what it says is worth no exception, only a count.
    """
    if not 0 <= guidance.plan < len(spec.plans):
        return "foreign_plan"
    if guidance.z.ndim != 1 or len(guidance.z) > code_size:
        return "foreign_code"
    chunk = guidance.candidate
    if chunk.ndim != 2 or chunk.shape[1] != len(spec.action):
        return "foreign_candidate"
    if not (np.isfinite(guidance.z).all() and np.isfinite(chunk).all()):
        return "not_finite"
    if not ((chunk >= spec.action_low) & (chunk <= spec.action_high)).all():
        return "outside_limits"
    return None
