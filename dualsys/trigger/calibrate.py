"""What an uncertainty is worth: does it foretell failure, and which threshold gives a call rate?"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from dualsys.errors import DualsysError
from dualsys.trigger.rules import Trigger
from dualsys.trigger.situation import Situation


class Reliability(msgspec.Struct, frozen=True):
    """One bin of the reliability diagram: ticks of like uncertainty, and how many end badly."""

    uncertainty: float  # mean of the bin
    ticks: int
    failing: float  # share of its ticks that are followed by a failure


def auroc(score: np.ndarray, bad: np.ndarray) -> float:
    """Probability that a bad tick scores above a good one, ties half; nan without both kinds.

    score (N,) and bad bool (N,). By the ranks of Mann and Whitney.
    """
    from scipy.stats import rankdata

    positive, negative = int(bad.sum()), int((~bad).sum())
    if not positive or not negative:
        return float("nan")
    ranks = rankdata(score)
    above = ranks[bad].sum() - positive * (positive + 1) / 2
    return float(above / (positive * negative))


def auroc_interval(
    scores: Sequence[np.ndarray], bads: Sequence[np.ndarray], draws: int = 500, seed: int = 0
) -> tuple[float, float]:
    """95% interval of the pooled AUROC, drawing whole episodes: their ticks are not independent."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(draws):
        chosen = rng.integers(0, len(scores), len(scores))
        value = auroc(
            np.concatenate([scores[i] for i in chosen]), np.concatenate([bads[i] for i in chosen])
        )
        if np.isfinite(value):
            found.append(value)
    if not found:
        return float("nan"), float("nan")
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def conformal_threshold(uncertainty: np.ndarray, call_rate: float) -> float:
    """The threshold that a new, exchangeable tick exceeds with probability at most `call_rate`.

    Split conformal prediction: the ceil((n + 1) (1 - rate))-th smallest of n calibration values
    (arXiv 2107.07511, section 1). Raises `DualsysError` when there are too few for so low a rate.
    """
    if not 0 < call_rate < 1:
        raise DualsysError(f"a call rate lies between 0 and 1, got {call_rate}")
    count = len(uncertainty)
    rank = int(np.ceil((count + 1) * (1 - call_rate)))
    if rank > count:
        raise DualsysError(
            f"{count} calibration ticks are too few for a call rate of {call_rate}; "
            f"{int(np.ceil(1 / call_rate))} are needed"
        )
    return float(np.sort(uncertainty)[rank - 1])


def calls_per_tick(episodes: Sequence[tuple[np.ndarray, np.ndarray]], trigger: Trigger) -> float:
    """How often a trigger would call, shown only the uncertainty: with its refractory time and all.

    episodes: (ticks (T,), uncertainty (T,)) each.
    """
    called = 0
    for epoch, (ticks, uncertainty) in enumerate(episodes):
        trigger.reset(epoch)
        for tick, value in zip(ticks.tolist(), uncertainty.tolist(), strict=True):
            called += trigger.decide(tick, Situation(value)) is not None
    return called / sum(len(ticks) for ticks, _ in episodes)


def reliability(uncertainty: np.ndarray, bad: np.ndarray, bins: int = 10) -> list[Reliability]:
    """Equally filled bins of uncertainty (N,), and the share of bad (N,) ticks in each."""
    order = np.argsort(uncertainty, kind="stable")
    return [
        Reliability(float(uncertainty[part].mean()), len(part), float(bad[part].mean()))
        for part in np.array_split(order, bins)
        if len(part)
    ]


def coverage(
    error: np.ndarray, scale: np.ndarray, levels: Sequence[float]
) -> list[tuple[float, float]]:
    """(level, share of errors inside the central Laplace interval of that probability).

    error and scale have one shape: what was missed, and the Laplace b. The interval of probability
    p reaches b ln(1 / (1 - p)) to both sides.
    """
    return [
        (level, float(np.mean(np.abs(error) <= scale * np.log(1 / (1 - level)))))
        for level in levels
    ]


def scale_correction(error: np.ndarray, scale: np.ndarray, level: float = 0.9) -> float:
    """The factor on every b under which the interval of `level` covers that share of errors."""
    needed = np.quantile(np.abs(error) / scale, level)
    return float(needed / np.log(1 / (1 - level)))
