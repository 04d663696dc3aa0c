"""Intervals and tests for episodes: rates, paired differences, many comparisons at once.

Episodes are paired by scenario and seed, so what a seed makes easy or hard cancels out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

Z95 = 1.959963984540054
DRAWS = 4000
SIGN_DRAWS = 100_000  # at most: p-values down to 1e-5
ENOUGH = 10  # draws that reached the mean: their share is known to about a third


class Difference(msgspec.Struct, frozen=True):
    """The mean of paired differences, its 95% bootstrap interval and the p-value of no difference.

    `excludes_zero` is said of the interval.
    """

    pairs: int
    mean: float
    ci95: tuple[float, float]
    p: float
    excludes_zero: bool


def wilson(hits: int, count: int, z: float = Z95) -> list[float]:
    """Wilson score interval of a rate at 95% (Wilson 1927)."""
    if count == 0:
        return [0.0, 1.0]
    rate = hits / count
    centre = rate + z * z / (2 * count)
    spread = z * ((rate * (1 - rate) + z * z / (4 * count)) / count) ** 0.5
    scale = 1 + z * z / count
    low, high = (centre - spread) / scale, (centre + spread) / scale
    # Rounding must not put the rate outside its own interval.
    return [max(0.0, min(low, rate)), min(1.0, max(high, rate))]


def bootstrap(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95% percentile interval of the mean of values (N,); (0, 0) without any."""
    if not len(values):
        return 0.0, 0.0
    draws = np.random.default_rng(seed).choice(values, (DRAWS, len(values))).mean(1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def bootstrap_by(
    cluster: np.ndarray, values: np.ndarray, weights: np.ndarray | None = None, seed: int = 0
) -> tuple[float, float]:
    """As `bootstrap` of values (N,) that come in clusters (N,): whole clusters are drawn.

    With `weights` (N,) the mean is weighted by them.

    States of one drive resemble each other; drawn one by one they would give too narrow an interval
    (cluster bootstrap; Davison and Hinkley 1997, section 3.8). (nan, nan) of fewer than two
    clusters, which tell no spread.
    """
    kinds, which = np.unique(cluster, return_inverse=True)
    if len(kinds) < 2:
        return math.nan, math.nan
    heavy = np.ones(len(values)) if weights is None else weights
    total, count = np.bincount(which, values * heavy), np.bincount(which, heavy)
    drawn = np.random.default_rng(seed).integers(0, len(kinds), (DRAWS, len(kinds)))
    low, high = np.percentile(total[drawn].sum(1) / count[drawn].sum(1), [2.5, 97.5])
    return float(low), float(high)


def paired(one: np.ndarray, other: np.ndarray) -> Difference:
    """`one` minus `other`, both (N,) and paired; booleans count as 0 and 1.

    The p-value is McNemar's exact test's for booleans (McNemar 1947), else that of random signs.
    Booleans that differ in no pair leave nothing to draw anew: their interval reaches as far as
    Wilson's for none of so many. Raises `ValueError` for arrays of different length.
    """
    if one.shape != other.shape:
        raise ValueError(f"paired values need equal shapes, got {one.shape} and {other.shape}")
    away = one.astype(float) - other.astype(float)
    if not len(away):
        return Difference(0, 0.0, (0.0, 0.0), 1.0, False)
    binary = one.dtype == bool and other.dtype == bool
    low, high = bootstrap(away)
    if binary and not away.any():
        high = wilson(0, len(away))[1]
        low = -high
    p = mcnemar(int((away > 0).sum()), int((away < 0).sum())) if binary else random_signs(away)
    return Difference(len(away), float(away.mean()), (low, high), p, low > 0 or high < 0)


def reduction(one: np.ndarray, other: np.ndarray) -> tuple[float, tuple[float, float] | None]:
    """By which share `one` has fewer events than `other`, both bool (N,), paired; its 95% interval.

    The pairs are drawn anew as in `bootstrap`. The interval is None where over 2.5% of the draws
    hold no event of `other`: so few say nothing about a share. Raises `ValueError` without any.
    """
    if not other.any():
        raise ValueError("a share of no events: `other` has none")
    drawn = np.random.default_rng(0).integers(len(one), size=(DRAWS, len(one)))
    mine, theirs = one[drawn].sum(1), other[drawn].sum(1)
    known = theirs > 0
    away = 1 - float(one.sum() / other.sum())
    if known.mean() < 0.975:
        return away, None
    low, high = np.percentile(1 - mine[known] / theirs[known], [2.5, 97.5])
    return away, (float(low), float(high))


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided p-value that gains and losses are equally likely."""
    count = gained + lost
    tail = sum(math.comb(count, k) for k in range(min(gained, lost) + 1)) / 2**count
    return min(1.0, 2 * tail)


def random_signs(away: np.ndarray, seed: int = 0) -> float:
    """Two-sided p-value that differences (N,) are as likely positive as negative.

    Signs are drawn until enough draws reached the mean, at most `SIGN_DRAWS` (sequential Monte
    Carlo; Besag and Clifford 1991). No p-value is below 1 / (draws + 1), and Holm's correction
    multiplies it by the number of comparisons: after a few thousand draws no effect, however clear,
    would be left over 200 of them.
    """
    rng, reached, drawn = np.random.default_rng(seed), 0, 0
    while reached < ENOUGH and drawn < SIGN_DRAWS:
        signs = rng.choice([-1.0, 1.0], (DRAWS, len(away)))
        reached += int((np.abs((signs * away).mean(1)) >= abs(away.mean()) - 1e-12).sum())
        drawn += DRAWS
    return (reached + 1) / (drawn + 1)


def holm(p: Sequence[float]) -> list[float]:
    """P-values of several comparisons, corrected so that all hold together (Holm 1979)."""
    order = np.argsort(p)
    corrected = [0.0] * len(p)
    highest = 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - place) * p[index]))
        corrected[index] = highest
    return corrected
