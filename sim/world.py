"""The `World` contract: a Gymnasium environment with a `WorldSpec`.

Observation space: a Dict with one uint8 (H, W, C) entry per camera under "images", float32 "state"
(S,) and float32 "scene" (rows, fields). `info` of reset and step carries "success" (bool),
"collision" (bool) and "image_ticks" (camera -> tick of capture).
"""

from __future__ import annotations

from typing import Any, Protocol, TypedDict, runtime_checkable

import numpy as np

from dualsys.spec import WorldSpec


class Frame(TypedDict):
    """One observation of a world, as its observation space declares it."""

    images: dict[str, np.ndarray]
    state: np.ndarray
    scene: np.ndarray


@runtime_checkable
class World(Protocol):
    """A seeded plant with cameras. `gymnasium.Env` subclasses that add three attributes fit.

    `step` takes a float32 (A,) command inside the limits of `spec.action` and keeps upstream's
    reward, termination, truncation and success.
    """

    spec: WorldSpec
    instruction: str
    plan_hint: str
    """Plan (of `spec.plans`) that a perfect planner would name for the instruction; "" if it varies."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Frame, dict[str, Any]]: ...

    def step(self, action: np.ndarray) -> tuple[Frame, float, bool, bool, dict[str, Any]]: ...

    def close(self) -> None: ...
