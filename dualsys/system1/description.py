"""What stands beside a policy in an ONNX file: names, shapes, units. Data alone, no code.

`policy.json` says of every input where it comes from and of every output what it is, so that a
network that was made elsewhere is refused, with both sides named, wherever the world has other
cameras, axes, units or another rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from dualsys.errors import DualsysError, SpecMismatchError
from dualsys.spec import AxisSpec, CameraSpec, WorldSpec

FILE = "policy.json"
SCHEMA = "dualsys-policy/1"
GUIDED = ("plan", "plan_age_s", "z", "candidate", "use_candidate")  # sources that System 2 fills


class Given(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"source": "from"}):
    """One input of the network: shape, dtype, and where it comes from.

    image: of `camera`, as `layout`, (pixel * scale - mean) / std, one mean and std or one per
    channel. state: `axes` (name -> unit) in that order, (value - mean) / std. plan: one-hot over
    `plans`, zeros without guidance; plan_age_s: (1, 1), 0 without; z: the code, (1, Z); candidate:
    System 2's chunk from this tick on, (1, T, A), all of it or zeros, and use_candidate: (1, 1),
    whether it is there. noise: standard normal, times system1.noise_scale, the same for equal
    episodes and ticks.
    """

    source: Literal[
        "image", "state", "plan", "plan_age_s", "z", "candidate", "use_candidate", "noise"
    ]
    shape: tuple[int, ...]
    dtype: str = "float32"
    camera: str = ""
    layout: Literal["BHWC", "BCHW"] = "BHWC"
    scale: float = 1.0
    axes: dict[str, str] = {}
    plans: tuple[str, ...] = ()
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One output of the network: shape, dtype, and what it is.

    commands: (1, T, A) or (1, A), value * std + mean in the units of `axes`; the last one is held
    for `hold_ticks` ticks. scale: that of a Laplace distribution of every command, as `commands`
    before std. uncertainty: one number that rises with doubt.
    """

    to: Literal["commands", "scale", "uncertainty"]
    shape: tuple[int, ...]
    dtype: str = "float32"
    axes: dict[str, str] = {}
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    hold_ticks: int = 1


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A policy in an ONNX file. `model` is the file's name, in the same folder."""

    schema: Literal["dualsys-policy/1"]
    model: str
    control_rate_hz: float
    inputs: dict[str, Given]
    outputs: dict[str, Wanted]

    def named(self, what: str) -> str | None:
        """The name of the output that is `what`, None without any."""
        return next((name for name, wanted in self.outputs.items() if wanted.to == what), None)

    @property
    def commands(self) -> Wanted:
        """The output of commands; `check` has seen that there is one."""
        return next(wanted for wanted in self.outputs.values() if wanted.to == "commands")

    @property
    def horizon(self) -> int:
        """For how many ticks one answer holds."""
        shape = self.commands.shape
        return (shape[1] if len(shape) == 3 else 1) + self.commands.hold_ticks - 1

    @property
    def reports_uncertainty(self) -> bool:
        """Whether it says how unsure it is."""
        return self.named("uncertainty") is not None or self.named("scale") is not None


def load(folder: Path) -> Description:
    """Read the description in a folder. Raises `DualsysError` for none, or for one that is not."""
    file = folder / FILE
    if not file.is_file():
        raise DualsysError(
            f"{file} is missing: system1.driver=onnx needs system1.checkpoint=DIR, a folder with "
            f"an ONNX file and its description {FILE} (docs/bring_your_own_policy.md)"
        )
    try:
        found = msgspec.json.decode(file.read_bytes(), type=Description)
    except msgspec.DecodeError as error:
        raise DualsysError(
            f"{file} is no description of a policy: {error} (docs/bring_your_own_policy.md)"
        ) from error
    if Path(found.model).name != found.model or not (folder / found.model).is_file():
        raise DualsysError(
            f"{file} names the model {found.model!r}; the name of a file in {folder} is needed"
        )
    return found


def check(found: Description, spec: WorldSpec, name: str) -> None:
    """Raise `SpecMismatchError` where a description does not fit a world; both sides are named."""
    if found.control_rate_hz != spec.control_rate_hz:
        raise SpecMismatchError(
            f"{name} acts at {found.control_rate_hz:g} Hz, the world at {spec.control_rate_hz:g} "
            "Hz: its commands belong to other ticks; train it, or make the world, for one rate"
        )
    kinds = [wanted.to for wanted in found.outputs.values()]
    if kinds.count("commands") != 1 or any(kinds.count(kind) > 1 for kind in kinds):
        raise SpecMismatchError(
            f"{name} describes the outputs {kinds}: exactly one has to be commands, scale and "
            "uncertainty may be there once"
        )
    for port, given in found.inputs.items():
        _check_input(f"{name}, input {port!r}", given, spec, found)
    for port, wanted in found.outputs.items():
        _check_output(f"{name}, output {port!r}", wanted, spec, found)


def _check_input(where: str, given: Given, spec: WorldSpec, found: Description) -> None:
    axes = len(spec.action)
    shapes: dict[str, tuple[int, ...] | None] = {
        "plan": (1, len(spec.plans)),
        "plan_age_s": (1, 1),
        "use_candidate": (1, 1),
        "candidate": (1, found.horizon, axes),
        "noise": (1, found.horizon, axes),
        "state": (1, len(given.axes)),
    }
    if given.source == "image":
        _check_image(where, given, _camera(where, given.camera, spec))
    elif given.source == "state":
        _check_axes(where, given.axes, spec.state, "state")
    elif given.source == "plan" and given.plans != spec.plans:
        raise SpecMismatchError(
            f"{where} knows the plans {list(given.plans)}, the world has {list(spec.plans)}"
        )
    expected = shapes.get(given.source)
    if expected is not None and np.prod(expected) != np.prod(given.shape):
        raise SpecMismatchError(
            f"{where} is a {given.source} of shape {given.shape}, this world gives {expected}"
        )
    if given.source == "z" and (len(given.shape) != 2 or given.shape[0] != 1):
        raise SpecMismatchError(f"{where} is a code of shape {given.shape}, expected (1, Z)")
    _check_scale(where, given.mean, given.std, spec, given)


def _check_image(where: str, given: Given, camera: CameraSpec) -> None:
    size = camera.height, camera.width, camera.channels
    expected = (1, *size) if given.layout == "BHWC" else (1, size[2], *size[:2])
    if tuple(n for n in given.shape if n != 1) != tuple(n for n in expected if n != 1):
        raise SpecMismatchError(
            f"{where} has the shape {given.shape} ({given.layout}), camera {camera.name!r} gives "
            f"{expected}; use a camera of that size, or export the network for this one"
        )
    if given.dtype == "uint8" and (given.scale, given.mean, given.std) != (1.0, (0.0,), (1.0,)):
        raise SpecMismatchError(
            f"{where} takes uint8, the pixels as they are, and has scale, mean or std; leave them "
            "out, or export the network for float32"
        )


def _camera(where: str, name: str, spec: WorldSpec) -> CameraSpec:
    for camera in spec.cameras:
        if camera.name == name:
            return camera
    raise SpecMismatchError(
        f"{where} wants the camera {name!r}, the world has {[c.name for c in spec.cameras]}"
    )


def _check_axes(
    where: str, wanted: Mapping[str, str], known: tuple[AxisSpec, ...], kind: str
) -> None:
    """Every axis has to be there, in the same unit: degrees taken for radians break a robot."""
    there = {axis.name: axis.unit for axis in known}
    if not wanted or any(there.get(name) != unit for name, unit in wanted.items()):
        raise SpecMismatchError(
            f"{where} is of the {kind} axes {_told(wanted)}, the world has {_told(there)}; give "
            "the names and units of the world"
        )


def _check_output(where: str, wanted: Wanted, spec: WorldSpec, found: Description) -> None:
    if wanted.to == "uncertainty":
        if np.prod(wanted.shape) != 1:
            raise SpecMismatchError(f"{where} is an uncertainty of shape {wanted.shape}, not one")
        return
    if wanted.to == "scale":
        if wanted.shape != found.commands.shape:
            raise SpecMismatchError(
                f"{where} has the shape {wanted.shape}, the commands have {found.commands.shape}"
            )
        return
    _check_axes(where, wanted.axes, spec.action, "action")
    axes, shape = len(spec.action), wanted.shape
    if len(wanted.axes) != axes or len(shape) not in (2, 3) or (shape[0], shape[-1]) != (1, axes):
        told = _told({axis.name: axis.unit for axis in spec.action})
        raise SpecMismatchError(
            f"{where} are commands of shape {shape} for {_told(wanted.axes)}; the world has "
            f"{axes} axes ({told}): (1, {axes}) or (1, T, {axes}) was expected"
        )
    if wanted.hold_ticks < 1:
        raise SpecMismatchError(f"{where} has hold_ticks {wanted.hold_ticks}, one is the least")
    _check_scale(where, wanted.mean, wanted.std, spec, wanted)


def _check_scale(
    where: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    spec: WorldSpec,
    port: Given | Wanted,
) -> None:
    """One number for all, or one for each axis or channel; nothing is divided by zero."""
    count = len(port.axes)
    if isinstance(port, Given) and port.source == "image":
        count = _camera(where, port.camera, spec).channels
    whole = all(np.isfinite([*mean, *std])) and all(value > 0 for value in std)
    if not whole or not {len(mean), len(std)} <= {1, count}:
        raise SpecMismatchError(
            f"{where} has mean {list(mean)} and std {list(std)}: one finite number each, or "
            f"{count} of them, std above zero"
        )


def _told(axes: Mapping[str, str]) -> str:
    return ", ".join(f"{name} [{unit}]" for name, unit in axes.items()) or "none"
