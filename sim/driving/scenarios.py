"""The driving scenarios as one table: upstream environment, cruise speed, sentence."""

from __future__ import annotations

from typing import Any

import msgspec


class Scenario(msgspec.Struct, frozen=True):
    """One highway-env environment; `destination` ends the ego's route, "" where there is none."""

    name: str
    upstream: str
    cruise_mps: float
    instruction: str
    destination: str = ""
    config: dict[str, Any] = {}


SCENARIOS: dict[str, Scenario] = {
    row.name: row
    for row in (
        Scenario("highway", "highway-v0", 28.0, "drive on along the highway"),
        Scenario("merge", "merge-v0", 28.0, "drive on and let merging vehicles in"),
        Scenario(
            "intersection",
            "intersection-v0",
            11.0,
            "turn left at the intersection",
            "o1",
        ),
        Scenario("roundabout", "roundabout-v0", 10.0, "leave the roundabout at the north", "nxr"),
        Scenario("racetrack", "racetrack-v0", 8.0, "follow the track behind other vehicles"),
    )
}
"""Scenario name (without the domain prefix) -> row. Everything not in the row is upstream's."""
