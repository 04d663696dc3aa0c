"""System 1's pass from an engine for each part; how many flow steps it takes is decided in it."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping

import numpy as np

from dualsys.errors import DualsysError
from dualsys.system1.depth import Depth
from dualsys.system1.uncertainty import laplace_entropy
from kernels.engine import Engine, TensorSpec

RECENT = 100  # steps whose slowest is how long one takes


class SteppedEngine:
    """`Sampler` in two parts, with as many Euler steps as `depth` says, pass by pass.

    taken: how often each number of steps was.
    """

    def __init__(self, encoder: Engine, step: Engine, depth: Depth, samples: int) -> None:
        if encoder.precision != step.precision:
            raise DualsysError(
                f"the encoder's engine computes in {encoder.precision}, the flow step's in "
                f"{step.precision}; make both in one precision"
            )
        self.name, self.precision = f"{encoder.name}, stepped", step.precision
        self._encoder, self._step = encoder, step
        self._depth, self._samples = depth, samples
        self._recent_ns: deque[int] = deque(maxlen=RECENT)
        self.taken: Counter[int] = Counter()
        self.inputs = encoder.inputs
        outputs = {name: encoder.outputs[name] for name in ("scale", "perceived")}
        chunk = step.outputs["chunk"]
        outputs["chunk"] = TensorSpec((1, *chunk.shape[1:]), chunk.dtype)
        if samples > 1:
            outputs["samples"] = chunk
            outputs["spread"] = TensorSpec((1, 1), "float32")
        self.outputs: Mapping[str, TensorSpec] = outputs

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """As `run_within`, where nobody waits."""
        return self.run_within(arrays, None)

    def run_within(
        self, arrays: Mapping[str, np.ndarray], left_ns: int | None
    ) -> dict[str, np.ndarray]:
        """As `Sampler`; the answer is due in `left_ns` (None: nobody waits).

        Raises `SpecMismatchError` unless the arrays are `inputs`.
        """
        begun = time.monotonic_ns()
        seen = {name: array.copy() for name, array in self._encoder.run(arrays).items()}
        left = None if left_ns is None else left_ns - (time.monotonic_ns() - begun)
        slowest = max(self._recent_ns, default=0)
        count = self._depth.steps(laplace_entropy(seen["scale"][0]), left, slowest)
        self.taken[count] += 1
        found = self._flow(seen, count)
        chunks = found["chunk"]
        out = {"scale": seen["scale"], "perceived": seen["perceived"], "chunk": chunks[:1]}
        if self._samples > 1:
            out["samples"] = chunks
            # Of normalised actions, the standard deviation that torch computes.
            out["spread"] = found["moved"].std(0, ddof=1).mean().reshape(1, 1)
        return out

    def _flow(self, seen: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
        given = {name: seen[name] for name in ("fixed", "keys", "values")}
        found = {"moved": seen["source"]}
        size = np.full(1, 1 / count, np.float32)
        for number in range(count):
            begun = time.monotonic_ns()
            tau = np.full(1, number / count, np.float32)
            moved = self._step.run({**given, "x": found["moved"], "tau": tau, "size": size})
            found = {name: array.copy() for name, array in moved.items()}
            self._recent_ns.append(time.monotonic_ns() - begun)
        return found
