"""The driving scenarios as one table: upstream environment, cruise speed, sentence."""

from __future__ import annotations

from typing import Any

import msgspec

from dualsys.errors import DualsysError, UnknownNameError


class Scenario(msgspec.Struct, frozen=True):
    """One highway-env environment; `destination` ends the ego's route, "" where there is none.

    upstream: a registered id, or "module:class" of a subclass. `crossed`: others' ways cross the
    ego's, an expert has to yield; `changes_lanes`: it may change lanes.
    """

    name: str
    upstream: str
    cruise_mps: float
    instruction: str
    destination: str = ""
    config: dict[str, Any] = {}
    crossed: bool = False
    changes_lanes: bool = False


SCENARIOS: dict[str, Scenario] = {
    row.name: row
    for row in (
        Scenario("highway", "highway-v0", 28.0, "drive on along the highway", changes_lanes=True),
        Scenario(
            "merge",
            "merge-v0",
            28.0,
            "drive on and let merging vehicles in",
            crossed=True,
            changes_lanes=True,
        ),
        Scenario(
            "intersection",
            "intersection-v0",
            11.0,
            "turn left at the intersection",
            "o1",
            crossed=True,
        ),
        Scenario(
            "roundabout",
            "roundabout-v0",
            10.0,
            "leave the roundabout at the north",
            "nxr",
            crossed=True,
        ),
        Scenario("racetrack", "racetrack-v0", 8.0, "follow the track behind other vehicles"),
    )
}
"""Scenario name (without the domain prefix) -> row. Everything not in the row is upstream's."""


def _rare(name: str, kind: str, cruise_mps: float, destination: str = "") -> Scenario:
    said = "go straight on at the intersection" if destination else "drive on along the road"
    where = f"sim.driving.longtail:{kind}"
    crossed = kind in ("RedLightRunner", "CrossingPedestrian", "CutIn", "WrongWay")
    return Scenario(
        name, where, cruise_mps, said, destination, {}, crossed, changes_lanes=not destination
    )


LONG_TAIL: dict[str, Scenario] = {
    row.name: row
    for row in (
        _rare("stopped_behind_truck", "StoppedBehindTruck", 25.0),
        _rare("cut_in", "CutIn", 25.0),
        _rare("wrong_way", "WrongWay", 25.0),
        _rare("pedestrian", "CrossingPedestrian", 14.0),
        _rare("blocked_lane", "BlockedLane", 20.0),
        _rare("hard_braking", "HardBraking", 25.0),
        _rare("red_light_runner", "RedLightRunner", 10.0, "o2"),
        _rare("emergency_behind", "EmergencyBehind", 25.0),
        _rare("sensor_dropout", "SensorDropout", 25.0),
    )
}
"""Rare situations; "name@0.8" sets the difficulty (0 to 1, otherwise 0.5)."""

UNSEEN = ("wrong_way", "red_light_runner", "emergency_behind")
"""Kinds of the long tail that no training of this project ever shows."""

TRAINING_LEVELS = (0.2, 0.5, 0.8)
HARD = 0.8
"""Difficulties at which the other kinds are shown (`suite=longtail_seen`)."""


def scenario_of(name: str) -> Scenario:
    """The row of "name" or "name@difficulty". Raises `UnknownNameError` or `DualsysError`."""
    known = {**SCENARIOS, **LONG_TAIL}
    base, at, told = name.partition("@")
    if base not in known:
        raise UnknownNameError("driving scenario", base, known)
    row = known[base]
    if not at:
        return row
    try:
        difficulty = float(told)
    except ValueError:
        difficulty = -1.0
    if base not in LONG_TAIL or not 0 <= difficulty <= 1:
        raise DualsysError(
            f"driving/{name}: a difficulty is a number from 0 to 1 behind one of "
            f"{', '.join(LONG_TAIL)}, as in driving/cut_in@0.8"
        )
    return msgspec.structs.replace(row, name=name, config={"difficulty": difficulty})
