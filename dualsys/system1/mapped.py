"""A network that was made elsewhere, as System 1's engine: named arrays of ours in, a chunk out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dualsys.spec import WorldSpec
from dualsys.system1.description import Description, Given
from kernels.engine import Engine, TensorSpec, check_inputs

Arrays = dict[str, np.ndarray]


class Translation:
    """Between the arrays of `Policy` and those of a described network. Pure."""

    def __init__(self, found: Description, spec: WorldSpec) -> None:
        """`found` has been checked against `spec`."""
        self._found, self._places = found, {axis.name: i for i, axis in enumerate(spec.state)}
        chunk = TensorSpec((1, found.horizon, len(spec.action)), "float32")
        code = next((g.shape[1] for g in found.inputs.values() if g.source == "z"), 0)
        self.inputs: dict[str, TensorSpec] = {
            **{
                f"image_{c.name}": TensorSpec((1, c.height, c.width, c.channels), "uint8")
                for c in spec.cameras
            },
            "state": TensorSpec((1, len(spec.state)), "float32"),
            "plan": TensorSpec((1, len(spec.plans)), "float32"),
            "z": TensorSpec((1, code), "float32"),
            "phase": TensorSpec((1, 3), "float32"),
            "candidate": chunk,
            "use_candidate": TensorSpec((1, 1), "float32"),
            "noise": chunk,
        }
        names = list(found.commands.axes)
        self._order = [names.index(axis.name) for axis in spec.action]

    def given(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        """What the network is fed."""
        return {
            name: self._one(given, arrays).reshape(given.shape).astype(given.dtype, copy=False)
            for name, given in self._found.inputs.items()
        }

    def _one(self, given: Given, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        if given.source == "image":
            image = arrays[f"image_{given.camera}"]
            if given.dtype != "uint8":
                image = _normal(image.astype(np.float32) * np.float32(given.scale), given)
            return image if given.layout == "BHWC" else np.moveaxis(image, 3, 1)
        if given.source == "state":
            places = [self._places[name] for name in given.axes]
            return _normal(arrays["state"][:, places], given)
        if given.source == "plan_age_s":
            return arrays["phase"][:, :1]
        return arrays[given.source]

    def told(self, outputs: Mapping[str, np.ndarray]) -> Arrays:
        """What `Policy` reads: chunk (1, T, A), and scale or uncertainty where they are known."""
        found = self._found
        commands = found.commands
        mean, std = (np.asarray(v, np.float32) for v in (commands.mean, commands.std))
        chunk = self._rows(outputs[str(found.named("commands"))] * std + mean)
        told = {"chunk": chunk, "perceived": np.zeros((1, 0), np.float32)}
        if (name := found.named("uncertainty")) is not None:
            told["uncertainty"] = np.asarray(outputs[name], np.float32)
        elif (name := found.named("scale")) is not None:
            told["scale"] = self._rows(outputs[name] * std)
        return told

    def _rows(self, values: np.ndarray) -> np.ndarray:
        """Values (1, T, A) or (1, A) in the world's order of axes, the last row held."""
        rows = values.reshape(1, -1, len(self._order))[..., self._order].astype(np.float32)
        held = np.repeat(rows[:, -1:], self._found.commands.hold_ticks - 1, axis=1)
        return np.concatenate([rows, held], axis=1)


class MappedEngine:
    """An engine of a described network, with the names of System 1's own."""

    def __init__(self, inner: Engine, between: Translation) -> None:
        self._inner, self._between = inner, between
        self.name, self.precision = inner.name, inner.precision
        self.inputs: Mapping[str, TensorSpec] = between.inputs
        blank = {n: np.zeros(s.shape, s.dtype) for n, s in self.inputs.items()}
        self.outputs: Mapping[str, TensorSpec] = {
            name: TensorSpec(array.shape, array.dtype.name)
            for name, array in self.run(blank).items()
        }

    def run(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        """Run the network once. Raises `SpecMismatchError` unless the arrays are `inputs`."""
        check_inputs(self.inputs, arrays)
        return self._between.told(self._inner.run(self._between.given(arrays)))


def _normal(values: np.ndarray, given: Given) -> np.ndarray:
    mean, std = (np.asarray(v, np.float32) for v in (given.mean, given.std))
    return (values - mean) / std
