"""What a peer of another stack calls our cameras, state and commands, and the way between both.

Ours are the names of the `WorldSpec`. A stream is one array of the peer's: some of our axes, in its
order, in our units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from dualsys.errors import DualsysError, SpecMismatchError
from dualsys.messages import Observation, Stamp
from dualsys.spec import AxisSpec, WorldSpec

Streams = Mapping[str, Sequence[str]]
ALL = "all"  # in place of the names of all axes, in our order


class PeerNames(msgspec.Struct, frozen=True):
    """As they stand in a configuration; what is not there is the protocol's own, see `DEFAULTS`."""

    images: dict[str, str] | None = None
    state: dict[str, list[str]] | None = None
    action: dict[str, list[str]] | None = None
    prompt: str = ""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> PeerNames:
        """What a configuration's group `peer` says. Raises `DualsysError` for what is no name."""
        try:
            return msgspec.convert({key: given[key] for key in cls.__struct_fields__}, cls)
        except msgspec.ValidationError as error:
            raise DualsysError(
                f"peer: {error}; images are {{camera: key}}, state and action {{key: [axis, ...]}}"
            ) from error


class Own(NamedTuple):
    """A protocol's own names; `{}` stands for the camera's."""

    image: str
    state: str
    action: str
    prompt: str


DEFAULTS = {
    "openpi": Own("observation/{}", "observation/state", "actions", "prompt"),
    "gr00t": Own("video.{}", "state.state", "action.action", "annotation.human.task_description"),
}


class Naming(msgspec.Struct, frozen=True):
    """The peer's names: camera -> key, key -> our axes, the key of the instruction."""

    images: dict[str, str]
    state: dict[str, tuple[str, ...]]
    action: dict[str, tuple[str, ...]]
    prompt: str

    @classmethod
    def of(cls, spec: WorldSpec, protocol: str, names: PeerNames, whole_state: bool) -> Naming:
        """Complete and check what a configuration says.

        `whole_state`: the peer has to send every axis of ours. Raises `DualsysError` that names
        what there is.
        """
        own = DEFAULTS[protocol]
        cameras = [camera.name for camera in spec.cameras]
        images = names.images or {}
        foreign = sorted(set(images) - {*cameras, "*"})
        if foreign:
            raise DualsysError(f"peer.images names {foreign}, the world's cameras are {cameras}")
        rest = images.get("*") or own.image  # of every camera that is not named
        state, action = names.state or {own.state: [ALL]}, names.action or {own.action: [ALL]}
        return cls(
            {name: images.get(name) or rest.format(name) for name in cameras},
            _complete("state", state, spec.state, whole_state),
            _complete("action", action, spec.action, whole=True),
            names.prompt or own.prompt,
        )


def _complete(
    what: str, streams: Streams, axes: Sequence[AxisSpec], whole: bool
) -> dict[str, tuple[str, ...]]:
    """Streams with every name written out; `whole`: each of our axes is to be in one of them."""
    ours = [axis.name for axis in axes]
    found = {k: tuple(ours) if list(v) == [ALL] else tuple(v) for k, v in streams.items()}
    named = [name for stream in found.values() for name in stream]
    foreign = sorted(set(named) - set(ours))
    twice = sorted({name for name in named if named.count(name) > 1})
    lost = [name for name in ours if name not in named] if whole else []
    if foreign or twice or lost:
        wrong = {"unknown": foreign, "twice": twice, "missing": lost}
        said = "; ".join(f"{why}: {', '.join(names)}" for why, names in wrong.items() if names)
        units = ", ".join(f"{axis.name} [{axis.unit}]" for axis in axes)
        raise DualsysError(f"peer.{what} does not fit the world ({said}); its axes are {units}")
    return found


def observe(naming: Naming, spec: WorldSpec, given: Mapping[str, Any], stamp: Stamp) -> Observation:
    """The observation that a peer sent; batches of one and histories of one are opened.

    There is no list of objects in it. Raises `SpecMismatchError` that names both sides.
    """
    images = {}
    for camera in spec.cameras:
        key = naming.images[camera.name]
        wanted = (camera.height, camera.width, camera.channels)
        image = _opened(_given(given, key, naming), 3, key)
        if image.dtype != np.uint8 or image.shape != wanted:
            raise SpecMismatchError(
                f"{key!r} has to be uint8 {wanted} (height, width, channels), it is "
                f"{image.dtype.name} {image.shape}; resize or convert it before it is sent"
            )
        images[camera.name] = image
    state = np.zeros(len(spec.state), np.float32)
    index = {axis.name: number for number, axis in enumerate(spec.state)}
    for key, axes in naming.state.items():
        values = _numbers(_opened(_given(given, key, naming), 1, key), axes, key)
        state[[index[name] for name in axes]] = values
    return Observation(
        stamp=stamp,
        images=images,
        image_ticks=dict.fromkeys(images, stamp.tick),
        state=state,
        scene=np.zeros((spec.scene_rows, len(spec.scene_fields)), np.float32),
        instruction=_sentence(given.get(naming.prompt, ""), naming.prompt),
    )


def tell(naming: Naming, spec: WorldSpec, seen: Observation) -> dict[str, Any]:
    """An observation of ours under a peer's names, without batch or history."""
    index = {axis.name: number for number, axis in enumerate(spec.state)}
    told: dict[str, Any] = {naming.images[name]: image for name, image in seen.images.items()}
    for key, axes in naming.state.items():
        told[key] = seen.state[[index[name] for name in axes]]
    return told | {naming.prompt: seen.instruction}


def actions(naming: Naming, spec: WorldSpec, commands: np.ndarray) -> dict[str, np.ndarray]:
    """Commands (T, A) of ours as a peer's streams, each float32 (T, axes)."""
    index = {axis.name: number for number, axis in enumerate(spec.action)}
    return {
        key: np.ascontiguousarray(commands[:, [index[name] for name in axes]], np.float32)
        for key, axes in naming.action.items()
    }


def commands(naming: Naming, spec: WorldSpec, answer: Mapping[str, Any]) -> np.ndarray:
    """The chunk float32 (T, A) in a peer's answer, inside the box of the world's commands.

    Raises `SpecMismatchError` that names both sides.
    """
    index = {axis.name: number for number, axis in enumerate(spec.action)}
    columns: dict[str, np.ndarray] = {}
    for key, axes in naming.action.items():
        if key not in answer:
            raise SpecMismatchError(f"the answer has no {key!r}, it has {sorted(answer)}")
        chunk = _opened(answer[key], 2, key)
        if chunk.shape[1] != len(axes):
            raise SpecMismatchError(
                f"{key!r} has {chunk.shape[1]} axes, {len(axes)} were expected: {', '.join(axes)}; "
                "name those it has with peer.action"
            )
        columns |= {name: chunk[:, number] for number, name in enumerate(axes)}
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1:
        raise SpecMismatchError(f"the streams of one answer have {sorted(lengths)} ticks")
    found = np.zeros((lengths.pop(), len(spec.action)), np.float32)
    for name, column in columns.items():
        found[:, index[name]] = column
    if not np.isfinite(found).all():
        raise SpecMismatchError("the answer holds numbers that are not finite")
    return np.clip(found, spec.action_low, spec.action_high)


def _given(given: Mapping[str, Any], key: str, naming: Naming) -> Any:
    if key not in given:
        wanted = [*naming.images.values(), *naming.state]
        raise SpecMismatchError(
            f"the observation has no {key!r}; it has {sorted(map(str, given))}, needed are "
            f"{wanted}; rename it there, or here with peer.images and peer.state"
        )
    return given[key]


def _opened(value: Any, rank: int, key: str) -> np.ndarray:
    """An array of so many dimensions out of batches and histories of one."""
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise SpecMismatchError(f"{key!r} holds {array.dtype.name}, numbers were expected")
    while array.ndim > rank and array.shape[0] == 1:
        array = array[0]
    if array.ndim != rank:
        raise SpecMismatchError(
            f"{key!r} has the shape {np.shape(value)}, {rank} dimension(s) were expected, or more "
            "of size one before them: one robot, the present moment alone"
        )
    return array


def _numbers(values: np.ndarray, axes: Sequence[str], key: str) -> np.ndarray:
    if values.shape != (len(axes),):
        raise SpecMismatchError(
            f"{key!r} has {values.size} numbers, {len(axes)} were expected: {', '.join(axes)}"
        )
    bad = [name for name, value in zip(axes, values, strict=True) if not math.isfinite(value)]
    if bad:
        raise SpecMismatchError(f"{key!r} is not finite in {', '.join(bad)}; mend the sensor")
    return values


def _sentence(value: Any, key: str) -> str:
    """Text, also in lists or arrays of one."""
    while isinstance(value, list | np.ndarray) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise SpecMismatchError(f"{key!r} holds {type(value).__name__}, a sentence was expected")
    return str(value)
