"""The WorldSpec that all driving scenarios share, so that one policy drives them all."""

from __future__ import annotations

import math

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
)
