"""Plants with limits, for the tests of the shield."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from dualsys.limits import AxisLimit, PlantLimits, RssLimit
from dualsys.messages import Action, Observation, Stamp
from dualsys.shield.ladder import Ladder, LadderConfig
from dualsys.shield.shield import Shield, ShieldConfig
from dualsys.shield.traffic import FIELDS
from dualsys.spec import AxisSpec, WorldSpec
from tests import fakes

SLED = msgspec.structs.replace(
    fakes.SPEC,
    limits=PlantLimits(
        axes=(
            AxisLimit(
                rate=8.0,
                rate_change=60.0,
                fallback_rate=2.0,
                reduced_low=-0.5,
                reduced_high=0.25,
                moves="x",
                gain=0.05,
                low=-1.5,
                high=1.0,
            ),
            AxisLimit(rate=10.0),
        )
    ),
)
"""Pushed along x and y at 20 Hz: x with steps of 0.4 and their steps of 0.15, y with 0.5."""
CAR = msgspec.structs.replace(
    fakes.SPEC,
    state=(
        AxisSpec("speed", "m/s", -40.0, 60.0),
        AxisSpec("lane_heading_error", "rad", -3.2, 3.2),
    ),
    action=(
        AxisSpec("acceleration", "m/s2", -5.0, 5.0),
        AxisSpec("steering", "rad", -0.8, 0.8),
    ),
    scene_fields=FIELDS,
    fallback=(-3.0, 0.0),
    motion="bicycle",
    limits=PlantLimits(
        axes=(
            AxisLimit(rate=40.0, fallback_rate=10.0, moves="speed", gain=0.05, low=0.0, high=40.0),
            AxisLimit(rate=2.0),
        ),
        lateral_acceleration=8.0,
        axle_m=2.5,
        rss=RssLimit(
            response_s=0.2,
            accelerate=3.0,
            brake=5.0,
            others_brake=6.0,
            sideways_accelerate=0.2,
            sideways_brake=0.8,
            sideways_margin_m=0.3,
            standing_gap_m=1.0,
            length_m=5.0,
            width_m=2.0,
        ),
    ),
)
"""A car at 20 Hz: its acceleration changes by 2 per tick, its steering by 0.1."""
LADDER = LadderConfig(
    engage_s=1.0,
    gap_s=0.25,
    ageing_s=1.0,
    overdue_s=2.0,
    stop_s=5.0,
    rungs={
        "standby": "fallback",
        "fresh": "full",
        "ageing": "full",
        "alone": "full",
        "expired": "reduced",
        "silent": "fallback",
        "stopped": "fallback",
    },
)
PERIOD = SLED.period_ns


def stamp(tick: int, late_ns: int = 0) -> Stamp:
    return Stamp(1, 0, tick + 1, tick, tick * PERIOD + late_ns)


def action(
    commands: Any,
    tick: int = 0,
    observation_ns: int | None = None,
    age_ticks: int = -1,
    waiting_ticks: int = -1,
) -> Action:
    seen = tick * PERIOD if observation_ns is None else observation_ns
    made = Action(stamp(tick), tick, np.asarray(commands), seen, 0.0, tick, -1, age_ticks, 0)
    return msgspec.structs.replace(made, waiting_ticks=waiting_ticks)


def seen(tick: int = 0, state: Any = (0.0, 0.0), scene: Any = None) -> Observation:
    rows = np.zeros((1, 3), np.float32) if scene is None else np.asarray(scene, np.float32)
    return Observation(stamp(tick), {}, {}, np.asarray(state, np.float32), rows, "")


def shield(spec: WorldSpec = SLED, **config: Any) -> Shield:
    return Shield(spec, ShieldConfig(**{"max_observation_age_s": 0.2, **config}), ladder())


def ladder(engaged: bool = True, **config: Any) -> Ladder:
    made = Ladder(msgspec.structs.replace(LADDER, **config))
    if engaged:
        made.engage()
    return made


def box(spec: WorldSpec = SLED) -> Shield:
    return shield(spec, rate=False, workspace=False, lateral=False, rss=False)
