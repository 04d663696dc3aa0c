"""What a trigger decides on: how sure System 1 is, how old its guidance is, what it perceives."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from dualsys.spec import WorldSpec

NO_FEATURES = np.zeros(0, np.float32)


class Situation(msgspec.Struct, frozen=True):
    """One tick as a trigger sees it.

    uncertainty [nat], nan before System 1's first pass; guidance_age [ticks], None without any;
    features: float32 (F,) in the order of `feature_names`, empty before the first pass.
    """

    uncertainty: float = math.nan
    guidance_age: int | None = None
    features: np.ndarray = NO_FEATURES


def feature_names(spec: WorldSpec, perceived: int) -> tuple[str, ...]:
    """Names of the features of a world; `perceived` is the length of System 1's scene estimate."""
    return (
        "entropy",
        "spread",
        "guided",
        "guidance_age_s",
        *(f"plan_{name}" for name in spec.plans),
        *(f"state_{axis.name}" for axis in spec.state),
        *(f"perceived_{i}" for i in range(perceived)),
    )


def features(
    spec: WorldSpec,
    entropy: float,
    spread: float,
    plan: int | None,
    guidance_age: int | None,
    state: np.ndarray,
    perceived: np.ndarray,
) -> np.ndarray:
    """The features (F,) of one tick; `plan` and `guidance_age` are None without guidance."""
    told = np.zeros(len(spec.plans), np.float32)
    if plan is not None:
        told[plan] = 1.0
    age_s = 0.0 if guidance_age is None else guidance_age / spec.control_rate_hz
    first = np.array([entropy, spread, float(plan is not None), age_s], np.float32)
    return np.concatenate([first, told, state, perceived]).astype(np.float32)
