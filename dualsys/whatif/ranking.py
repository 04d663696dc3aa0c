"""How well values order what really comes of candidates."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from dualsys.statistics import bootstrap_by


class Ranking(msgspec.Struct, frozen=True):
    """How well values order the realised returns.

    Intervals are 95% bootstrap over episodes, whose states resemble each other; (nan, nan) where
    fewer than two tell anything. NaN, too, is a correlation where no state's returns differ.
    """

    states: int
    episodes: int
    spearman: float
    spearman_ci95: tuple[float, float]
    argmax_gain: float  # return of the argmax minus the mean return of the candidates
    argmax_gain_ci95: tuple[float, float]
    beats_random: float  # share of states in which argmax beats a random pick, ties count half
    beats_random_ci95: tuple[float, float]
    over_alone: float  # return of the argmax minus that of System 1 under the plan alone
    over_alone_ci95: tuple[float, float]


def rank(
    values: np.ndarray,
    returns: np.ndarray,
    alone: np.ndarray,
    episode: np.ndarray,
    seed: int = 0,
) -> Ranking:
    """Compare values and realised returns, both (states, N).

    `alone` (states,) are the returns of System 1 under the plan alone, without a candidate;
    `episode` (states,) names the episode of each state, by numbers or text that are alike for the
    states of one drive alone.

    States in which all candidates return the same say nothing of the order and are left out of the
    correlation, not of the rest.
    """
    from scipy.stats import spearmanr

    best = returns[np.arange(len(returns)), values.argmax(1)]
    gain = best - returns.mean(1)
    others = (best[:, None] > returns).mean(1) + 0.5 * (best[:, None] == returns).mean(1)
    telling = (np.ptp(returns, 1) > 1e-9) & (np.ptp(values, 1) > 0)
    order = np.array(
        [spearmanr(v, r).statistic for v, r in zip(values[telling], returns[telling], strict=True)]
    )
    return Ranking(
        len(values),
        len(np.unique(episode)),
        float(order.mean()) if len(order) else math.nan,
        bootstrap_by(episode[telling], order, seed=seed),
        float(gain.mean()),
        bootstrap_by(episode, gain, seed=seed),
        float(others.mean()),
        bootstrap_by(episode, others, seed=seed),
        float((best - alone).mean()),
        bootstrap_by(episode, best - alone, seed=seed),
    )
