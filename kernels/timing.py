"""Times engines side by side: they take turns, so that a busy machine slows all of them alike."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Work = Callable[[int], object]
"""What is timed; it is told the number of the round, as to take another input each time."""

Spans = np.ndarray  # (rounds, 2) int64: from, to [ns] of the monotonic clock

SWEPT = 64 * 2**20  # bytes: twice what a core of the reference machine finds in its last cache


def cold(work: Work, number: int) -> None:
    """Sweep other memory through the caches, as the programs between two ticks do."""
    _swept().sum()


def warm(work: Work, number: int) -> None:
    """Do the same work once before, as in a loop that does nothing else."""
    work(number)


CACHES: dict[str, Callable[[Work, int], None]] = {"cold": cold, "warm": warm}
"""In what state a work finds the caches, by name; done before each, and not timed.

Without either, a work finds them as the one before left them: those that share weights, or are
compared with few others, would look faster than they are.
"""


def take_turns(
    works: Mapping[str, Work],
    rounds: int,
    warm_up: int,
    progress: Callable[[], None] = lambda: None,
    clock: Callable[[], int] = time.monotonic_ns,
    caches: str = "cold",
) -> dict[str, Spans]:
    """Run every work once a round, in turns, and return its spans without those of the warm-up.

    Raises `KeyError` where `caches` is none of `CACHES`.
    """
    prepare = CACHES[caches]
    found = {name: np.zeros((rounds, 2), np.int64) for name in works}
    names = list(works)
    for number in range(warm_up + rounds):
        # Who comes after whom changes, so that none always finds the caches of the same other.
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            prepare(works[name], number)
            start = clock()
            works[name](number)
            end = clock()
            if number >= warm_up:
                found[name][number - warm_up] = start, end
        progress()
    return found


@functools.cache
def _swept() -> np.ndarray:
    return np.ones(SWEPT // 8)


def told(spans: Spans, reference: Spans, stalls: list[tuple[int, int]]) -> dict[str, Any]:
    """Percentiles [ms], those outside stalls of the machine, and how often faster than reference.

    The ratio is the median over rounds, with the 2.5 and 97.5% points of medians drawn anew.
    """
    elapsed = (spans[:, 1] - spans[:, 0]) / 1e6
    kept = elapsed[~stalled(spans, stalls)]
    p50, p95, p99, p999 = (float(v) for v in np.percentile(elapsed, [50, 95, 99, 99.9]))
    ratios = (reference[:, 1] - reference[:, 0]) / 1e6 / elapsed
    drawn = np.random.default_rng(0).integers(0, len(ratios), (200, len(ratios)))
    medians = np.median(ratios[drawn], axis=1)
    return {
        "rounds": len(elapsed),
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "p999_ms": p999,
        "max_ms": float(elapsed.max()),
        "in_stalls": int(len(elapsed) - len(kept)),
        "p99_outside_stalls_ms": float(np.percentile(kept, 99)) if len(kept) else None,
        "times_faster": float(np.median(ratios)),
        "times_faster_ci95": [float(v) for v in np.percentile(medians, [2.5, 97.5])],
    }


def stalled(spans: Spans, stalls: list[tuple[int, int]]) -> np.ndarray:
    """Which spans (N,) the machine stood still in, for some time at least."""
    found = np.zeros(len(spans), bool)
    for begin, end in stalls:
        found |= (spans[:, 0] < end) & (begin < spans[:, 1])
    return found
