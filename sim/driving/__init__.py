"""Driving worlds (highway-env)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.driving.highway import HighwayWorld


def make(name: str) -> HighwayWorld:
    """Make the driving scenario `name` ("highway", "merge", ...)."""
    from sim.driving.highway import HighwayWorld

    return HighwayWorld(name)
