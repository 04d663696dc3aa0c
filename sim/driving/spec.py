"""The WorldSpec that all driving scenarios share, so that one policy drives them all."""

from __future__ import annotations

import math

from dualsys.limits import AxisLimit, PlantLimits, RssLimit
from dualsys.spec import AxisSpec, CameraSpec, WorldSpec
from sim.driving.raster import PROJECTION, SIZE_PX

CONTROL_RATE_HZ = 15.0  # one decision per physics step of upstream (its simulation_frequency)
SCENE_ROWS = 12
SCENE_FIELDS = (
    "present",
    "ahead_m",
    "left_m",
    "heading_rad",
    "ahead_mps",  # velocity in the ego's frame, not relative
    "left_mps",
    "length_m",
    "width_m",
    "lane_offset",  # lanes to the right of the ego's lane; nan-free: 99 when on another road
    "gap_m",  # bumper to bumper along the ego's lane
)
# A road car's: brakes that take a tenth of a second to bite, a steering that needs half a second
# from side to side, tyres that hold 0.8 g. Upstream's traffic brakes with 5 m/s2 where it can.
LIMITS = PlantLimits(
    axes=(
        AxisLimit(
            rate=45.0,
            fallback_rate=10.0,
            reduced_high=1.0,
            moves="speed",
            gain=1 / CONTROL_RATE_HZ,
            low=0.0,
            high=40.0,
        ),
        AxisLimit(rate=1.5, fallback_rate=0.5),
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
)
SPEC = WorldSpec(
    domain="driving",
    cameras=(CameraSpec("topdown", SIZE_PX, SIZE_PX, projection=PROJECTION),),
    state=(
        AxisSpec("speed", "m/s", -40.0, 60.0),
        AxisSpec("acceleration", "m/s2", -5.0, 5.0),
        AxisSpec("steering", "rad", -math.pi / 4, math.pi / 4),
        AxisSpec("lane_offset", "m", -100.0, 100.0),
        AxisSpec("lane_heading_error", "rad", -math.pi, math.pi),
        AxisSpec("lane_to_left", "bool", 0.0, 1.0),
        AxisSpec("lane_to_right", "bool", 0.0, 1.0),
        AxisSpec("cruise_speed", "m/s", 0.0, 40.0),
    ),
    action=(
        AxisSpec("acceleration", "m/s2", -5.0, 5.0),
        AxisSpec("steering", "rad", -math.pi / 4, math.pi / 4),
    ),
    control_rate_hz=CONTROL_RATE_HZ,
    plans=("cruise", "follow", "yield", "change_left", "change_right"),
    scene_fields=SCENE_FIELDS,
    scene_rows=SCENE_ROWS,
    fallback=(-3.0, 0.0),  # brake straight on
    motion="bicycle",
    limits=LIMITS,
)
