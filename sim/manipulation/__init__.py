"""MuJoCo manipulation worlds (Meta-World)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.manipulation.disturbed import DisturbedWorld
    from sim.manipulation.metaworld import MetaWorld


def make(name: str) -> MetaWorld | DisturbedWorld:
    """Make the Meta-World task `name` ("reach", "push+object_moved@0.8", ...).

    MuJoCo is imported here only.
    """
    from sim.manipulation.cameras import require_mujoco

    require_mujoco()
    if "+" in name:
        from sim.manipulation.disturbed import DisturbedWorld

        return DisturbedWorld(name)
    from sim.manipulation.metaworld import MetaWorld

    return MetaWorld(name)
