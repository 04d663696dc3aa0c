"""The `World` contract: a Gymnasium environment with a `WorldSpec`.

Observation space: a Dict with one uint8 (H, W, C) entry per camera under "images", float32 "state"
(S,) and float32 "scene" (rows, fields). `info` of reset and step carries "success" (bool),
"collision" (bool, or None in a world that measures none), "image_ticks" (camera -> tick of capture)
and "metrics" (name -> number).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypedDict, runtime_checkable

import gymnasium
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

    `step` takes a float32 (A,) command inside the limits of the specification and keeps upstream's
    reward, termination, truncation and success.
    """

    world_spec: WorldSpec
    instruction: str
    plan_hints: Mapping[str, str]
    """Instruction -> the plan (of the vocabulary) that fits it; empty where the scene decides."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Frame, dict[str, Any]]:
        """Start the episode of `seed`; equal seeds give equal episodes."""
        ...

    def step(self, action: np.ndarray) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        """Apply one command; frame, reward, terminated, truncated, info."""
        ...

    def close(self) -> None:
        """Free renderers and windows."""
        ...


@runtime_checkable
class SavableWorld(World, Protocol):
    """A world that can go back: what-if questions then need no new start. Optional."""

    def save(self) -> Any:
        """Return the present state, independent of what is done next."""
        ...

    def restore(self, saved: Any) -> None:
        """Be again as when `saved` was made, in the same episode; as often as wanted."""
        ...


class Expert(Protocol):
    """Demonstrates: reads the simulator's state, never the camera."""

    def reset(self) -> None:
        """Start an episode."""
        ...

    def act(self, told: int = -1, age_ticks: int = 0) -> tuple[np.ndarray, int]:
        """Return the clean command (A,) for the present state and the index of its plan.

        It follows the plan `told`, made `age_ticks` ago, as far as that is safe; -1: its own.
        """
        ...


@runtime_checkable
class Demonstrated(World, Protocol):
    """A world that can be shown: `dualsys collect` records its expert. Optional."""

    def expert(self) -> Expert:
        """Somebody who knows how, for this very world."""
        ...


@runtime_checkable
class LiveWorld(World, Protocol):
    """A plant that moves by itself: a robot behind a driver. Optional; `runtime=realtime` only.

    Making one opens nothing (its specification is read that way); the first `reset` connects, and
    every one ends within `supervisor.heartbeat_s`, with the plant at rest. `step` sends its command
    and returns the newest that the sensors said, without waiting for the next tick. A camera that
    shows nothing new repeats its picture, under the tick at which it was taken.
    """

    def stop(self, command: np.ndarray) -> None:
        """Send the fallback `command` (A,) at once, and let none follow it until a `reset`.

        Called when an episode or the run is over, and when `step` raised or hangs: from any thread,
        so it waits for nothing that `step` may hold.
        """
        ...


def frame_space(spec: WorldSpec) -> gymnasium.spaces.Dict:
    """The observation space that a world with this specification declares."""
    box = gymnasium.spaces.Box
    images: dict[str, gymnasium.Space[Any]] = {
        c.name: box(0, 255, (c.height, c.width, c.channels), np.uint8) for c in spec.cameras
    }
    low = np.array([axis.low for axis in spec.state], np.float32)
    high = np.array([axis.high for axis in spec.state], np.float32)
    return gymnasium.spaces.Dict(
        {
            "images": gymnasium.spaces.Dict(images),
            "state": box(low, high),
            "scene": box(-np.inf, np.inf, (spec.scene_rows, len(spec.scene_fields)), np.float32),
        }
    )
