"""What System 1 gets of a world's frame."""

from __future__ import annotations

from typing import Any

from dualsys.messages import Observation, Stamp


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
