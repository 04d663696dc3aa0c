"""How late System 1 is: from an observation to its action, in a run's log, stalls taken out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dualsys.messages import Action, Message

DRAWS = 500


class Lateness(NamedTuple):
    """Of every tick that no stall of the machine reached, in order."""

    at_ns: np.ndarray  # int64 (N,): when the action was sent
    late_ms: np.ndarray  # float64 (N,): since the observation was made
    act_ms: np.ndarray  # float64 (N,): inside Policy.act


def lateness(log: Iterable[Message], stalled_ns: Iterable[tuple[int, int]]) -> Lateness:
    """Read a log; `stalled_ns` are begin and end of the machine's stalls, as results tell them."""
    stalls = np.array(list(stalled_ns), np.int64).reshape(-1, 2)
    rows = []
    for message in log:
        if isinstance(message, Action):
            begin, end = message.observation_ns, message.stamp.time_ns
            if not np.any((stalls[:, 0] < end) & (begin < stalls[:, 1])):
                rows.append((end, end - begin, message.compute_ns))
    table = np.array(rows, np.int64).reshape(-1, 3)
    return Lateness(table[:, 0], table[:, 1] / 1e6, table[:, 2] / 1e6)


def ratio(
    more: Sequence[np.ndarray],
    less: Sequence[np.ndarray],
    percentile: float,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """A percentile of one sample over that of another, both in parts that belong together.

    The interval is a bootstrap over the parts, and over the ticks of a sample that has only one.
    """
    drawn = [
        np.percentile(_drawn(more, rng), percentile) / np.percentile(_drawn(less, rng), percentile)
        for _ in range(DRAWS)
    ]
    whole, other = np.concatenate(more), np.concatenate(less)
    found = float(np.percentile(whole, percentile) / np.percentile(other, percentile))
    return {"ratio": found, "ci95": np.percentile(drawn, [2.5, 97.5]).tolist()}


def _drawn(parts: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    if len(parts) == 1:
        return rng.choice(parts[0], len(parts[0]))
    return np.concatenate([parts[number] for number in rng.integers(len(parts), size=len(parts))])
