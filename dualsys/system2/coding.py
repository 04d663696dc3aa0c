"""The plan vector as it is sent: values on a grid of levels, made coarser to save bits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np


def coarser(code: np.ndarray, levels: int) -> np.ndarray:
    """The code (..., Z) in [-1, 1] on a grid of `levels` values per entry.

    Raises `ValueError` for fewer than two levels.
    """
    if levels < 2:
        raise ValueError(f"a code needs at least two levels, {levels} were given")
    half = (levels - 1) / 2
    # Halves go up, not to even: neighbouring values must not change places.
    grid: np.ndarray = np.floor((code + 1) * half + 0.5) / half - 1
    return grid.astype(np.float32)


def name_of(plan: int, code: np.ndarray) -> str:
    """A message's plan and code (Z,), Z may be 0, as a short text: for counting equal ones."""
    return " ".join([str(plan), *(f"{value:.2f}" for value in code.tolist())])


def message_bits(counts: Mapping[str, int]) -> dict[str, float]:
    """Bits that a message carried, from how often each `name_of` was sent.

    bits: the entropy of plan and code together; plan_bits: that of the plan; code_bits: what the
    code adds to a known plan. A candidate chunk is not in it.
    """
    plans: Counter[str] = Counter()
    for name, count in counts.items():
        plans[name.partition(" ")[0]] += count
    bits, plan_bits = entropy_bits(counts.values()), entropy_bits(plans.values())
    return {"bits": bits, "plan_bits": plan_bits, "code_bits": max(0.0, bits - plan_bits)}


def measured_bits(codes: np.ndarray) -> float:
    """Bits that a message carries, from the codes (N, Z) that occurred: see `entropy_bits`."""
    _, counts = np.unique(codes, axis=0, return_counts=True)
    return entropy_bits(counts.tolist())


def entropy_bits(counts: Iterable[int]) -> float:
    """Entropy [bit] of things that occurred so often; never more than log2 of their number."""
    seen = np.array([count for count in counts if count > 0], float)
    if not len(seen):
        return 0.0
    share = seen / seen.sum()
    return abs(float(-(share * np.log2(share)).sum()))
