"""What a world promises: cameras, state, actions, units, limits, rate and the plan vocabulary.

System 1, System 2, the shield and the recorder all read the same `WorldSpec`; a checkpoint carries
the one it was trained for, and a mismatch is refused with both sides named.
"""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np

from dualsys.errors import SpecMismatchError
from dualsys.limits import PlantLimits


class CameraSpec(msgspec.Struct, frozen=True):
    """One camera: uint8 images (H, W, C), a new one every `period_ticks` control ticks.

    `projection` is a 3x4 matrix, row by row, from homogeneous points in the world's frame [m]
    (driving: the ego's, x ahead and y left; arm: the table's) to homogeneous pixels (u right,
    v down); empty where it is not known. Visual prompts are drawn with it.
    """

    name: str
    height: int
    width: int
    channels: int = 3
    period_ticks: int = 1
    projection: tuple[float, ...] = ()


class AxisSpec(msgspec.Struct, frozen=True):
    """One scalar of the state or the action with its unit and hard limits in that unit."""

    name: str
    unit: str
    low: float
    high: float


class WorldSpec(msgspec.Struct, frozen=True):
    """The contract between a world and everything that controls it.

    `plans` is the vocabulary of high-level plans that System 2 may send; `scene_fields` names the
    columns of the object list (ground truth or a perception stack's tracks) that System 2 and the
    labels of training may read and System 1 never does. `fallback` is what the shield sends when
    System 1 is silent: one value per action axis, None to keep the last command of that axis.
    `motion` says how commands move the vehicle or the tool, so that a chunk can be drawn as a path:
    "bicycle" (acceleration, steering; state axis speed), "displacement" (the first three command
    axes move the first three state axes) or "" (unknown).
    `limits` are what the plant can bear beyond the box of its commands. They are the shield's: no
    network was trained for them, and worlds that differ in nothing else are interchangeable.
    """

    domain: str
    cameras: tuple[CameraSpec, ...]
    state: tuple[AxisSpec, ...]
    action: tuple[AxisSpec, ...]
    control_rate_hz: float
    plans: tuple[str, ...]
    scene_fields: tuple[str, ...]
    scene_rows: int
    fallback: tuple[float | None, ...]
    motion: str = ""
    limits: PlantLimits | None = None

    @property
    def period_ns(self) -> int:
        """Length of one control tick in nanoseconds."""
        return round(1e9 / self.control_rate_hz)

    @property
    def action_low(self) -> np.ndarray:
        """Lower action limits, float32 (A,)."""
        return np.array([a.low for a in self.action], np.float32)

    @property
    def action_high(self) -> np.ndarray:
        """Upper action limits, float32 (A,)."""
        return np.array([a.high for a in self.action], np.float32)

    @property
    def fingerprint(self) -> str:
        """Hash of the contract without `limits`: equal ones mean interchangeable worlds."""
        contract = {name: getattr(self, name) for name in CONTRACT}
        return hashlib.sha256(msgspec.json.encode(contract)).hexdigest()[:16]


CONTRACT = tuple(name for name in WorldSpec.__struct_fields__ if name != "limits")


def require_same(ours: WorldSpec, theirs: WorldSpec, our_name: str, their_name: str) -> None:
    """Raise `SpecMismatchError` that lists every differing field with both values."""
    fields = [f for f in CONTRACT if getattr(ours, f) != getattr(theirs, f)]
    if fields:
        lines = [
            f"{f}: {our_name} has {_brief(getattr(ours, f))}, "
            f"{their_name} has {_brief(getattr(theirs, f))}"
            for f in fields
        ]
        raise SpecMismatchError(
            f"{our_name} does not fit {their_name}: {'; '.join(lines)}. "
            f"Use a checkpoint trained for this world, or train one with `dualsys train system1`."
        )


def _brief(value: object) -> str:
    if isinstance(value, tuple) and value and isinstance(value[0], CameraSpec):
        return str([_camera(c) for c in value])
    if isinstance(value, tuple) and value and isinstance(value[0], AxisSpec):
        return str([f"{a.name} [{a.unit}] {a.low}..{a.high}" for a in value])
    return repr(value)


def _camera(camera: CameraSpec) -> str:
    size = f"{camera.height}x{camera.width}x{camera.channels}"
    view = hashlib.sha256(msgspec.json.encode(camera.projection)).hexdigest()[:4]
    return f"{camera.name} {size}/{camera.period_ticks} view {view}"
