"""What messages tell of a world's frame and of a step's info."""

from __future__ import annotations

from typing import Any

from dualsys.messages import Observation, Outcome, Stamp


def observation_of(world: Any, frame: Any, info: dict[str, Any], stamp: Stamp) -> Observation:
    """The observation of one tick of a world."""
    return Observation(
        stamp=stamp,
        images=frame["images"],
        image_ticks=info["image_ticks"],
        state=frame["state"],
        scene=frame["scene"],
        instruction=world.instruction,
    )


def outcome_of(
    stamp: Stamp, reward: float, terminated: bool, truncated: bool, info: dict[str, Any]
) -> Outcome:
    """What came of a step, in Python's own numbers: environments give numpy's as well."""
    ended = bool(terminated), bool(truncated)
    return Outcome(stamp, float(reward), *ended, bool(info["success"]), metrics_of(info))


def metrics_of(info: dict[str, Any]) -> dict[str, float]:
    """What an `Outcome` tells of a step's `info`: its metrics, and collisions where measured."""
    collision = info["collision"]
    known = {} if collision is None else {"collision": float(collision)}
    return {name: float(value) for name, value in {**info["metrics"], **known}.items()}
