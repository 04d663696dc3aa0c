"""`dualsys train gate`: call trials -> the model that predicts what a call would gain.

Few trials and much noise: an ensemble of small networks, each on its own bootstrap draw of whole
episodes, with weight decay, and gains that count up to a cap: else the few trials in which a drive
was saved or lost outweigh all others. Cross-validation, whole episodes apart, says how well such a
gate ranks calls; the one that is written has learned from all. Harm counts for more than gain, and
a gain that the members disagree on for less.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dualsys.errors import DualsysError
from dualsys.runtime.gates import same_system_1
from dualsys.runtime.results import machine, versions
from dualsys.trigger.gate import SCHEMA, Gate, GateCard, Judged, gains, normalised, save_gate
from dualsys.whatif.call_trials import CallTrial, load_trials
from dualsys.whatif.verdicts import MARGIN
from sim.registry import require_training

Progress = Callable[[int, dict[str, float]], None]

FOLDS = 5  # of the cross-validation
FIRST = (0.02, 0.05, 0.1, 0.2)  # shares of the calls, the most promising first, that are scored


class Ensemble(nn.Module):
    """The networks of `dualsys.trigger.gate.Gate`, as parameters."""

    def __init__(self, members: int, features: int, hidden: int) -> None:
        super().__init__()
        self.w1 = nn.Parameter(torch.randn(members, features, hidden) / features**0.5)
        self.b1 = nn.Parameter(torch.zeros(members, hidden))
        self.w2 = nn.Parameter(torch.randn(members, hidden) / hidden**0.5)
        self.b2 = nn.Parameter(torch.zeros(members))

    def forward(self, x: Tensor) -> Tensor:
        """Gains (M, N) predicted for normalised features x (N, F)."""
        hidden = torch.einsum("nf,mfh->mnh", x, self.w1) + self.b1[:, None]
        return (hidden.relu() * self.w2[:, None]).sum(-1) + self.b2[:, None]


def fit_gate(config: dict[str, Any], progress: Progress) -> Path:
    """Train the gate and write it to `config["out"]`. Returns the folder.

    Raises `DualsysError` for too few trials, and for trials of evaluation's seeds and kinds.
    """
    torch.set_num_threads(config["threads"])
    torch.manual_seed(config["seed"])
    trials, whose, abouts = _read(config)
    x = np.array([t.features for t in trials], np.float32)
    gain = np.array([t.gain for t in trials], np.float32)
    episode = np.unique([f"{t.scenario} {t.seed}" for t in trials], return_inverse=True)[1]
    rng = np.random.default_rng(config["seed"])
    fold = rng.permutation(episode.max() + 1)[episode] % FOLDS
    predicted = np.zeros(len(gain))
    for number in range(FOLDS):
        others = fold != number
        without = _fitted(x, gain, episode, others, config, rng, _silent)
        predicted[~others] = gains(without, x[~others], config["caution"])
    arrays = _fitted(x, gain, episode, np.ones(len(x), bool), config, rng, progress)
    names = ("steps", "learning_rate", "weight_decay", "members", "hidden", "cap", "aversion")
    card = GateCard(
        SCHEMA,
        whose,
        config["caution"],
        _described(trials, int(episode.max()) + 1, abouts),
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


def _described(
    trials: list[CallTrial], episodes: int, abouts: list[dict[str, Any]]
) -> dict[str, Any]:
    """What the card says about the trials: a gate foretells the calls of such a planner only."""
    seeds = [t.seed for t in trials]
    told: dict[str, Any] = {
        "trials": len(trials),
        "episodes": episodes,
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


def _bootstrap(
    episode: np.ndarray, usable: np.ndarray, members: int, rng: np.random.Generator
) -> np.ndarray:
    """How often each trial counts for each member, float32 (M, N): episodes drawn anew."""
    kinds = np.unique(episode[usable])
    counts = np.zeros((members, len(episode)), np.float32)
    for member in range(members):
        drawn = rng.choice(kinds, len(kinds))
        often = np.bincount(drawn, minlength=episode.max() + 1)
        counts[member] = often[episode] * usable
    return counts


def weighed(gain: np.ndarray, cap: float, aversion: float) -> np.ndarray:
    """What a gate learns to predict of gains (N,): up to a cap, and harm is so much worse."""
    worth = np.clip(gain, -cap, cap) - aversion * (gain < -MARGIN)
    return worth.astype(np.float32)


def _silent(step: int, parts: dict[str, float]) -> None: ...


def _fitted(
    x: np.ndarray,
    gain: np.ndarray,
    episode: np.ndarray,
    usable: np.ndarray,
    config: dict[str, Any],
    rng: np.random.Generator,
    progress: Progress,
) -> dict[str, np.ndarray]:
    """The arrays of a gate that learned from the usable ones of features x (N, F)."""
    mean, std = x[usable].mean(0), np.maximum(x[usable].std(0), 1e-3)
    weight = torch.from_numpy(_bootstrap(episode, usable, config["members"], rng))
    ensemble = Ensemble(config["members"], x.shape[1], config["hidden"])
    inputs = torch.from_numpy(normalised(x, mean, std))
    target = torch.from_numpy(weighed(gain, config["cap"], config["aversion"]))
    _fit(ensemble, inputs, target, weight, config, progress)
    arrays = {k: v.detach().numpy().copy() for k, v in ensemble.named_parameters()}
    return arrays | {"mean": mean, "std": std}


def _fit(
    ensemble: Ensemble,
    inputs: Tensor,
    target: Tensor,
    weight: Tensor,
    config: dict[str, Any],
    progress: Progress,
) -> None:
    optimiser = torch.optim.AdamW(
        ensemble.parameters(), config["learning_rate"], weight_decay=config["weight_decay"]
    )
    for step in range(1, config["steps"] + 1):
        error = (ensemble(inputs) - target).square()
        loss = (error * weight).sum() / weight.sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 50 == 0 or step == config["steps"]:
            progress(step, {"error": float(loss.detach())})


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
