"""The `Engine` interface: named arrays in, named arrays out, shapes fixed when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import msgspec
import numpy as np

from dualsys.errors import SpecMismatchError


class TensorSpec(msgspec.Struct, frozen=True):
    """Shape and numpy dtype name of one named input or output."""

    shape: tuple[int, ...]
    dtype: str


class Engine(Protocol):
    """A compiled network. `run` may return views of static buffers: copy what must outlive it."""

    name: str
    precision: str  # what it multiplies in, a key of `parity.TOLERANCES`
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run once. Raises `SpecMismatchError` unless the arrays are exactly `inputs`."""
        ...


@runtime_checkable
class TimedEngine(Engine, Protocol):
    """An engine that may do less where less time is left."""

    def run_within(
        self, arrays: Mapping[str, np.ndarray], left_ns: int | None
    ) -> dict[str, np.ndarray]:
        """As `run`; the answer is due in `left_ns` (None: nobody waits)."""
        ...


def check_inputs(inputs: Mapping[str, TensorSpec], arrays: Mapping[str, Any]) -> None:
    """Raise `SpecMismatchError` that names both sides unless `arrays` are exactly `inputs`."""
    if set(arrays) != set(inputs):
        raise SpecMismatchError(
            f"the engine takes inputs {sorted(inputs)}, it was given {sorted(arrays)}; "
            "pass exactly the named inputs"
        )
    for name, spec in inputs.items():
        array = arrays[name]
        if tuple(array.shape) != spec.shape or array.dtype.name != spec.dtype:
            raise SpecMismatchError(
                f"engine input {name!r} must be {spec.dtype} {spec.shape}, it is "
                f"{array.dtype.name} {tuple(array.shape)}; engines have fixed shapes"
            )
