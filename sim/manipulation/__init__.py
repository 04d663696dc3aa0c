"""MuJoCo manipulation worlds (Meta-World)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.manipulation.metaworld import MetaWorld


def make(name: str) -> MetaWorld:
    """Make the Meta-World task `name` ("reach", "push", ...); MuJoCo is imported here only."""
    from sim.manipulation.cameras import require_mujoco

    require_mujoco()
    from sim.manipulation.metaworld import MetaWorld

    return MetaWorld(name)
