"""`dualsys train gate`: call trials -> the model that predicts what a call would gain.

Few trials and much noise: extremely randomised trees, and gains that count up to a cap: else the
few trials in which a drive was saved or lost outweigh all others. Harm counts for more than gain.
Cross-validation, whole seeds apart, says how well such a gate ranks calls; the one that is
written has learned from all.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dualsys.errors import DualsysError
from dualsys.runtime.gates import same_system_1
from dualsys.runtime.results import machine, versions
from dualsys.trigger.gate import SCHEMA, Gate, GateCard, Judged, gains, save_gate
from dualsys.whatif.call_trials import CallTrial, load_trials
from dualsys.whatif.verdicts import MARGIN
from sim.registry import require_training

Progress = Callable[[int], None]
"""Told how many of the folds, and of the last training, are done."""

FOLDS = 5  # of the cross-validation
FIRST = (0.02, 0.05, 0.1, 0.2)  # shares of the calls, the most promising first, that are scored


def fit_gate(config: dict[str, Any], progress: Progress) -> Path:
    """Train the gate and write it to `config["out"]`. Returns the folder.

    Raises `DualsysError` for too few trials, and for trials of evaluation's seeds and kinds.
    """
    trials, whose, abouts = _read(config)
    x = np.array([t.features for t in trials], np.float32)
    gain = np.array([t.gain for t in trials], np.float32)
    target = weighed(gain, config["cap"], config["aversion"])
    # Drives of one seed begin alike at every difficulty: whole seeds are kept apart.
    seed = np.unique([t.seed for t in trials], return_inverse=True)[1]
    rng = np.random.default_rng(config["seed"])
    fold = rng.permutation(seed.max() + 1)[seed] % FOLDS
    predicted = np.zeros(len(gain))
    for number in range(FOLDS):
        progress(number)
        others = fold != number
        predicted[~others] = gains(grown(x[others], target[others], config), x[~others])
    progress(FOLDS)
    arrays = grown(x, target, config)
    names = ("trees", "leaf", "tried_features", "cap", "aversion", "seed")
    card = GateCard(
        SCHEMA,
        whose,
        _described(trials, abouts),
        {name: config[name] for name in names} | {"machine": machine(), "versions": versions()},
        scores(predicted, gain),
    )
    save_gate(Path(config["out"]), Gate(arrays, card))
    return Path(config["out"])


def _read(
    config: dict[str, Any],
) -> tuple[list[CallTrial], Judged, list[dict[str, Any]]]:
    files = [config["data"]] if isinstance(config["data"], str) else list(config["data"])
    saved = [load_trials(Path(file)) for file in files]
    for file, other in zip(files, saved, strict=True):
        same_system_1(files[0], saved[0].judged, file, other.judged)
    trials = [trial for s in saved for trial in s.trials]
    if len(trials) < 20:
        raise DualsysError(f"{len(trials)} trials are too few for a gate; make hundreds")
    require_training((t.scenario, t.seed) for t in trials)
    return trials, saved[0].judged, [s.about for s in saved]


def _described(trials: list[CallTrial], abouts: list[dict[str, Any]]) -> dict[str, Any]:
    """What the card says about the trials: a gate foretells the calls of such a planner only."""
    seeds = [t.seed for t in trials]
    told: dict[str, Any] = {
        "trials": len(trials),
        "episodes": len({(t.scenario, t.seed) for t in trials}),
        "scenarios": sorted({t.scenario for t in trials}),
        "seeds": [min(seeds), max(seeds)],
    }
    return told | {
        "tried": [
            {
                "horizon_s": about["horizon_s"],
                "unsure": about["unsure"],
                **{name: about["config"][name] for name in ("latency", "system1", "system2")},
            }
            for about in abouts
        ]
    }


def weighed(gain: np.ndarray, cap: float, aversion: float) -> np.ndarray:
    """What a gate learns to predict of gains (N,): up to a cap, and harm is so much worse."""
    worth = np.clip(gain, -cap, cap) - aversion * (gain < -MARGIN)
    return worth.astype(np.float32)


def grown(x: np.ndarray, target: np.ndarray, config: dict[str, Any]) -> dict[str, np.ndarray]:
    """Trees that learned the targets (N,) of features x (N, F), as the arrays of a `Gate`."""
    from sklearn.ensemble import ExtraTreesRegressor

    forest = ExtraTreesRegressor(
        config["trees"],
        min_samples_leaf=config["leaf"],
        max_features=config["tried_features"],
        random_state=config["seed"],
        n_jobs=config["threads"],
    ).fit(x, target)
    return flattened([grown.tree_ for grown in forest.estimators_])


def flattened(trees: list[Any]) -> dict[str, np.ndarray]:
    """scikit-learn's trees one behind the other, as `Gate` takes them."""
    sizes = [tree.node_count for tree in trees]
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
    leaf = np.concatenate([tree.children_left < 0 for tree in trees])
    places = np.arange(sum(sizes), dtype=np.int32)
    sides = []
    for name in ("children_left", "children_right"):
        shifted = [getattr(tree, name) + root for tree, root in zip(trees, roots, strict=True)]
        sides.append(np.where(leaf, places, np.concatenate(shifted)).astype(np.int32))
    feature = np.concatenate([tree.feature for tree in trees])
    threshold = np.concatenate([tree.threshold for tree in trees])
    return {
        "roots": roots,
        "feature": np.where(leaf, 0, feature).astype(np.int16),
        "threshold": _rounded_down(threshold),
        "left": sides[0],
        "right": sides[1],
        "value": np.concatenate([tree.value[:, 0, 0] for tree in trees]).astype(np.float32),
        "depth": np.array([max(tree.max_depth for tree in trees)], np.int32),
    }


def _rounded_down(threshold: np.ndarray) -> np.ndarray:
    """The largest float32 that is not above: features are float32, no comparison changes."""
    single = threshold.astype(np.float32)
    return np.where(single > threshold, np.nextafter(single, np.float32(-np.inf)), single).astype(
        np.float32
    )


def scores(predicted: np.ndarray, gain: np.ndarray) -> dict[str, Any]:
    """How well predictions (N,) rank gains (N,): correlation, and what the first calls gain.

    first: of the share `calls` of all trials with the highest predictions, the mean gain, and the
    shares that were useful and harmful.
    """
    from scipy.stats import spearmanr

    if len(gain) < 3:
        return {"trials": len(gain)}
    order = np.argsort(-predicted, kind="stable")
    return {
        "trials": len(gain),
        "folds": FOLDS,
        "rank_correlation": float(spearmanr(predicted, gain).statistic),
        **_worth(gain),
        "first": [
            {"calls": share, **_worth(gain[order[: max(1, round(share * len(gain)))]])}
            for share in FIRST
        ],
    }


def _worth(gain: np.ndarray) -> dict[str, float]:
    return {
        "mean_gain": float(gain.mean()),
        "useful": float((gain > MARGIN).mean()),
        "harmful": float((gain < -MARGIN).mean()),
    }
