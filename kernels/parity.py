"""The parity gate: an engine may act only when it agrees with torch. One table of tolerances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
import numpy as np

from kernels.engine import Engine


class Tolerance(msgspec.Struct, frozen=True):
    """Least cosine of every output, and largest error relative to the output's own RMS."""

    cosine: float
    relative_error: float


TOLERANCES: dict[str, Tolerance] = {
    "float32": Tolerance(0.99999, 1e-3),
    "float16": Tolerance(0.999, 5e-2),
    "bfloat16": Tolerance(0.999, 1e-1),
}


class Parity(msgspec.Struct, frozen=True):
    """The worst agreement over all samples and outputs, and the output where it was found."""

    cosine: float
    relative_error: float
    output: str

    def fault(self, precision: str) -> str | None:
        """Say why the engine is refused at `precision`; None when it passes."""
        limit = TOLERANCES[precision]
        if self.cosine >= limit.cosine and self.relative_error <= limit.relative_error:
            return None
        return (
            f"output {self.output!r} differs from torch: cosine {self.cosine:.6f} (at least "
            f"{limit.cosine}), relative error {self.relative_error:.2e} (at most "
            f"{limit.relative_error})"
        )


def compare(
    engine: Engine, reference: Engine, samples: Iterable[Mapping[str, np.ndarray]]
) -> Parity:
    """Run both on every sample; a value that is not finite counts as no agreement at all."""
    worst = Parity(1.0, 0.0, "")
    for arrays in samples:
        wanted = {name: value.copy() for name, value in reference.run(arrays).items()}
        found = engine.run(arrays)
        for name, expected in wanted.items():
            parity = _agreement(name, found[name], expected)
            if parity.cosine < worst.cosine or parity.relative_error > worst.relative_error:
                worst = Parity(
                    min(parity.cosine, worst.cosine),
                    max(parity.relative_error, worst.relative_error),
                    name,
                )
    return worst


def _agreement(name: str, found: np.ndarray, expected: np.ndarray) -> Parity:
    a, b = found.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return Parity(-1.0, float("inf"), name)
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float(a @ b) / lengths if lengths > 0 else float(np.array_equal(a, b))
    rms = max(float(np.sqrt(np.mean(b**2))), 1e-12)
    return Parity(cosine, float(np.abs(a - b).max()) / rms, name)
