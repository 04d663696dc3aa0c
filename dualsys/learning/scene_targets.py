"""Scene values as regression targets: what a network that sees only images is to find in them."""

from __future__ import annotations

import numpy as np

from dualsys.learning.joined import JoinedDataset
from dualsys.spec import WorldSpec

NEAREST = 6  # objects; scenes list the nearest first


def scene_targets(
    dataset: JoinedDataset, chosen: list[tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Targets and their mask, both float32 (N, X), of the `chosen` (object, field) of scenes.

    Each target has zero mean and unit spread where its object is present (mask 1).
    """
    spec = dataset.spec
    rows, columns = np.array(chosen, int).reshape(-1, 2).T  # of none, too
    scene = dataset.scene.reshape(len(dataset.scene), spec.scene_rows, -1)
    mask = np.ascontiguousarray(scene[:, rows, spec.scene_fields.index("present")], np.float32)
    value = np.ascontiguousarray(scene[:, rows, columns], np.float32)
    weight = np.maximum(mask.sum(0), 1.0)
    mean = (value * mask).sum(0) / weight
    spread = ((value - mean) ** 2 * mask).sum(0) / weight
    return (value - mean) / np.maximum(np.sqrt(spread), 1e-3), mask


def motion_fields(spec: WorldSpec) -> list[tuple[int, int]]:
    """(object, field) of where the nearest objects are and how fast they move."""
    fields = [i for i, name in enumerate(spec.scene_fields) if name.endswith(("_m", "_mps"))]
    sizes = {"length_m", "width_m"}
    fields = [i for i in fields if spec.scene_fields[i] not in sizes]
    return [(row, i) for row in range(min(NEAREST, spec.scene_rows)) for i in fields]
