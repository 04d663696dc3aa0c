"""System 1's pass from an engine for each part; how deep its flow goes is decided in it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

import numpy as np

from dualsys.errors import DualsysError
from dualsys.system1.depth import Depth, Effort, Pace
from dualsys.system1.uncertainty import laplace_entropy
from kernels.engine import Engine, TensorSpec

FIRST = 10  # steps of each kind before the first tick; how long the later half took counts


class SteppedEngine:
    """`Sampler` in parts, with the Euler steps and blocks that `depth` says, pass by pass.

    taken: how often each effort was.
    """

    def __init__(
        self, encoder: Engine, flows: Mapping[int, Engine], depth: Depth, samples: int
    ) -> None:
        """`flows`: by the number of blocks, the engine of one step; one for each of the depth's."""
        for step in flows.values():
            if encoder.precision != step.precision:
                raise DualsysError(
                    f"the encoder's engine computes in {encoder.precision}, the flow step's in "
                    f"{step.precision}; make both in one precision"
                )
        self.name, self.precision = f"{encoder.name}, stepped", encoder.precision
        self._encoder, self._flows = encoder, dict(flows)
        self._depth, self._samples = depth, samples
        self._pace = Pace(_first_ns(flows))
        self.taken: Counter[Effort] = Counter()
        self.inputs = encoder.inputs
        outputs = {name: encoder.outputs[name] for name in ("scale", "perceived")}
        chunk = next(iter(flows.values())).outputs["chunk"]
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
        effort = self._depth.chosen(laplace_entropy(seen["scale"][0]), left, self._pace.step_ns())
        self.taken[effort] += 1
        found = self._flow(seen, effort)
        chunks = found["chunk"]
        out = {"scale": seen["scale"], "perceived": seen["perceived"], "chunk": chunks[:1]}
        if self._samples > 1:
            out["samples"] = chunks
            # Of normalised actions, the standard deviation that torch computes.
            out["spread"] = found["moved"].std(0, ddof=1).mean().reshape(1, 1)
        return out

    def _flow(self, seen: dict[str, np.ndarray], effort: Effort) -> dict[str, np.ndarray]:
        given = {name: seen[name] for name in ("fixed", "keys", "values")}
        found, step = {"moved": seen["source"]}, self._flows[effort.layers]
        size = np.full(1, 1 / effort.steps, np.float32)
        for number in range(effort.steps):
            begun = time.monotonic_ns()
            tau = np.full(1, number / effort.steps, np.float32)
            moved = step.run({**given, "x": found["moved"], "tau": tau, "size": size})
            found = {name: array.copy() for name, array in moved.items()}
            self._pace.took(effort.layers, time.monotonic_ns() - begun)
        return found


def _first_ns(flows: Mapping[int, Engine]) -> dict[int, int]:
    """The slowest step of each kind, once it runs as it does later."""
    found = {}
    for layers, engine in flows.items():
        zeros = {name: np.zeros(spec.shape, spec.dtype) for name, spec in engine.inputs.items()}
        spans = []
        for _ in range(FIRST):
            begun = time.monotonic_ns()
            engine.run(zeros)
            spans.append(time.monotonic_ns() - begun)
        found[layers] = max(spans[FIRST // 2 :])
    return found
