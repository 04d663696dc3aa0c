"""What torch answers to recorded inputs: the measure of every other engine.

A network that came as an ONNX file has no torch module: its measure is `kernels.onnx_file`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dualsys.errors import DualsysError
from kernels.engine import Engine, TensorSpec
from kernels.network import Arrays, Network

RANDOM = 4  # samples where nobody recorded any
TORCH = "torch"
RECORDED = "recorded.safetensors"  # beside the weights: inputs that the network met at work


@dataclass(frozen=True)
class Reference:
    """Inputs and torch's outputs, sample by sample; `recorded` is False where they are noise.

    measure: whose outputs they are.
    """

    inputs: list[Arrays]
    outputs: list[Arrays]
    recorded: bool
    measure: str = TORCH

    @property
    def specs(self) -> dict[str, TensorSpec]:
        """Shapes and dtypes of the inputs."""
        return {n: TensorSpec(a.shape, a.dtype.name) for n, a in self.inputs[0].items()}

    @property
    def names(self) -> list[str]:
        """The outputs' names, sorted."""
        return sorted(self.outputs[0])

    @property
    def source(self) -> str:
        """What it was made of, in words."""
        kind = "recorded inputs" if self.recorded else "random inputs"
        against = "" if self.measure == TORCH else f", against {self.measure}"
        return f"{len(self.inputs)} {kind}{against}"


class RecordingEngine:
    """Keeps what it is asked, but for the inputs `left_out`; answers as the engine inside."""

    def __init__(self, inner: Engine, left_out: Sequence[str] = ()) -> None:
        self._inner, self._left_out, self.asked = inner, left_out, list[Arrays]()
        self.name, self.precision = inner.name, inner.precision
        self.inputs, self.outputs = inner.inputs, inner.outputs

    def run(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        """Run the engine inside."""
        self.asked.append({n: a.copy() for n, a in arrays.items() if n not in self._left_out})
        return self._inner.run(arrays)


def example_arrays(inputs: Mapping[str, TensorSpec], seed: int = 0) -> Arrays:
    """Arrays of the named shapes: random bytes for integers, standard normal for floats."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.integers(0, 256, spec.shape, dtype=np.uint8)
        if spec.dtype == "uint8"
        else rng.standard_normal(spec.shape).astype(spec.dtype)
        for name, spec in inputs.items()
    }


def reference_of(network: Network) -> Reference:
    """Run the network in torch, on a processor, on what was recorded.

    A network that is an ONNX file is its own measure, run plainly.
    """
    from kernels.torch_engine import TorchEngine

    if network.file is not None:
        from kernels.onnx_file import reference_of_file

        return reference_of_file(network.file(), network.recorded())
    module, specs = network.make()
    inputs, recorded = network.recorded(), True
    if not inputs:
        inputs, recorded = [example_arrays(specs, seed) for seed in range(RANDOM)], False
    engine = TorchEngine(module, specs)
    outputs = [{n: a.copy() for n, a in engine.run(arrays).items()} for arrays in inputs]
    return Reference(inputs, outputs, recorded)


def stacked(samples: list[Arrays]) -> Arrays:
    """Samples as one array per name, the samples first."""
    return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}


def apart(arrays: Arrays) -> list[Arrays]:
    """The reverse of `stacked`."""
    count = {len(array) for array in arrays.values()}
    if len(count) != 1:
        raise DualsysError(f"arrays of {sorted(count)} samples stand in one file; record it again")
    return [{name: array[k] for name, array in arrays.items()} for k in range(count.pop())]


def save(reference: Reference, file: Path) -> None:
    """Write it; the file appears whole or not at all."""
    from safetensors.numpy import save_file

    arrays = {f"in.{n}": a for n, a in stacked(reference.inputs).items()}
    arrays |= {f"out.{n}": a for n, a in stacked(reference.outputs).items()}
    partial = file.with_suffix(f".{os.getpid()}.partial")
    told = {"recorded": "yes" if reference.recorded else "no", "measure": reference.measure}
    save_file(arrays, partial, told)
    partial.replace(file)


def load(file: Path) -> Reference:
    """Read what `save` wrote. Raises `DualsysError` for another file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "numpy") as opened:
            about = opened.metadata()
            recorded, measure = about["recorded"] == "yes", about.get("measure", TORCH)
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError) as error:
        raise DualsysError(
            f"{file} can not be read ({error}); delete it, it is made anew"
        ) from error
    given, wanted = (
        {name.removeprefix(side): a for name, a in arrays.items() if name.startswith(side)}
        for side in ("in.", "out.")
    )
    return Reference(apart(given), apart(wanted), recorded, measure)
