"""The parity gate: an engine may act only when it agrees with torch. One table of tolerances."""

from __future__ import annotations

import msgspec
import numpy as np

from kernels.engine import Engine
from kernels.reference import TORCH, Reference


class Tolerance(msgspec.Struct, frozen=True):
    """Least cosine of every output and sample, and largest error as a share of the output's RMS."""

    cosine: float
    relative_error: float


TOLERANCES: dict[str, Tolerance] = {
    "float32": Tolerance(0.99999, 1e-3),
    "tf32": Tolerance(0.999, 5e-2),
    "float16": Tolerance(0.999, 5e-2),
    "bfloat16": Tolerance(0.999, 1e-1),
}


class Agreement(msgspec.Struct, frozen=True):
    """Of one output, the worst over all samples; `error` is in the output's own units."""

    cosine: float = 1.0
    relative_error: float = 0.0
    error: float = 0.0


class Parity(msgspec.Struct, frozen=True):
    """How far every output agrees."""

    outputs: dict[str, Agreement]
    measure: str = TORCH

    def fault(self, precision: str) -> str | None:
        """Say why the engine is refused at `precision`; None when it passes."""
        limit = TOLERANCES[precision]
        for name, found in self.outputs.items():
            if not (found.cosine >= limit.cosine and found.relative_error <= limit.relative_error):
                return (
                    f"output {name!r} differs from {self.measure}: cosine {found.cosine:.6f} "
                    f"(at least {limit.cosine}), relative error {found.relative_error:.2e} "
                    f"(at most {limit.relative_error})"
                )
        return None


def compare(engine: Engine, reference: Reference) -> Parity:
    """Run the engine on every sample; a value that is not finite is no agreement at all."""
    worst = {name: Agreement() for name in reference.names}
    scale = {name: _rms([sample[name] for sample in reference.outputs]) for name in worst}
    for arrays, wanted in zip(reference.inputs, reference.outputs, strict=True):
        found = engine.run(arrays)
        for name, before in worst.items():
            now = _agreement(found[name], wanted[name], scale[name])
            worst[name] = Agreement(
                min(before.cosine, now.cosine),
                max(before.relative_error, now.relative_error),
                max(before.error, now.error),
            )
    return Parity(worst, reference.measure)


def errors_by_axis(engine: Engine, reference: Reference, output: str) -> np.ndarray:
    """Largest error (A,) of every axis of an output (..., A), in the axis' own unit."""
    worst = [
        np.abs(engine.run(arrays)[output].astype(np.float64) - wanted[output])
        for arrays, wanted in zip(reference.inputs, reference.outputs, strict=True)
    ]
    found: np.ndarray = np.stack(worst).reshape(-1, worst[0].shape[-1]).max(0)
    return found


def _agreement(found: np.ndarray, expected: np.ndarray, scale: float) -> Agreement:
    a, b = found.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return Agreement(-1.0, float("inf"), float("inf"))
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float(a @ b) / lengths if lengths > 0 else float(np.array_equal(a, b))
    error = float(np.abs(a - b).max())
    return Agreement(cosine, error / scale, error)


def _rms(arrays: list[np.ndarray]) -> float:
    return max(float(np.sqrt(np.mean(np.square(arrays, dtype=np.float64)))), 1e-12)
