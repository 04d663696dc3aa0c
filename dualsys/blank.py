"""An observation of nothing, to warm up on."""

from __future__ import annotations

import numpy as np

from dualsys.messages import Observation, Stamp
from dualsys.spec import WorldSpec


def blank_observation(spec: WorldSpec, number: int) -> Observation:
    """A black picture and a state of zeros, of no session."""
    images = {c.name: np.zeros((c.height, c.width, c.channels), np.uint8) for c in spec.cameras}
    return Observation(
        stamp=Stamp(0, 0, number, number, 0),
        images=images,
        image_ticks=dict.fromkeys(images, number),
        state=np.zeros(len(spec.state), np.float32),
        scene=np.zeros((spec.scene_rows, len(spec.scene_fields)), np.float32),
        instruction="",
    )
