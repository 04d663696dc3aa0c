"""`dualsys calibrate`: what System 1's uncertainty foretells, and the thresholds that it gives.

Logged runs tell what came within two seconds of each tick; a held-out dataset tells how often the
expert's commands lie in the Laplace intervals.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dualsys.errors import DualsysError
from dualsys.messages import Action, Outcome
from dualsys.runtime.fates import harmful
from dualsys.runtime.log import read_log
from dualsys.runtime.results import git_state, machine, versions
from dualsys.trigger.calibrate import (
    auroc,
    auroc_interval,
    conformal_threshold,
    coverage,
    reliability,
    scale_correction,
)
from sim import registry

AHEAD_S = 2.0  # a tick is bad when the episode fails within this time
LEVELS = (0.5, 0.8, 0.9, 0.95)
CALL_RATES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0)  # of the spread in the sum


class EpisodeTicks(msgspec.Struct):
    """Uncertainty of every answered tick of one episode, and which are followed by a failure."""

    entropy: np.ndarray  # (T,)
    spread: np.ndarray  # (T,)
    bad: np.ndarray  # bool (T,)


def episodes_of(run: Path) -> list[EpisodeTicks]:
    """The episodes of a run's folder.

    Bad: driving, a collision or leaving the road within two seconds; manipulation, the episode
    fails at all (a task that is not solved fails at no moment). Raises `DualsysError` for no run.
    """
    if not (run / "results.json").is_file():
        raise DualsysError(f"{run} is not the folder of a run; give the out= of a `dualsys eval`")
    results = msgspec.json.decode((run / "results.json").read_bytes())
    weight = results["config"]["system1"].get("spread_weight", 0.0)
    rows = {row["epoch"]: row for row in results["episodes"]}
    told: dict[int, dict[int, Action]] = {}
    harmed: dict[int, list[int]] = {}
    for _, message in read_log(run / "log.mcap"):
        if isinstance(message, Action):
            told.setdefault(message.stamp.epoch, {})[message.stamp.tick] = message
        elif isinstance(message, Outcome) and harmful(message):
            harmed.setdefault(message.stamp.epoch, []).append(message.stamp.tick)
    found = []
    for epoch, actions in told.items():
        row = rows[epoch]
        spec = registry.spec_of(row["scenario"])
        ticks = np.array(sorted(actions))
        spread = np.nan_to_num(np.array([actions[t].spread for t in ticks]))
        total = np.array([actions[t].uncertainty for t in ticks])
        if spec.domain == "driving":
            ahead = AHEAD_S * spec.control_rate_hz
            ends = np.array(harmed.get(epoch, []))
            bad = np.array([bool(((ends >= t) & (ends <= t + ahead)).any()) for t in ticks])
        else:
            bad = np.full(len(ticks), not row["success"])
        found.append(EpisodeTicks(total - weight * spread, spread, bad))
    return found


def foretelling(episodes: list[EpisodeTicks]) -> dict[str, Any]:
    """AUROC of each measure, with intervals over episodes, and the reliability of the best sum."""
    bads = [e.bad for e in episodes]
    bad = np.concatenate(bads)
    measures = {"entropy": [e.entropy for e in episodes], "spread": [e.spread for e in episodes]}
    measures |= {f"entropy + {w} spread": [e.entropy + w * e.spread for e in episodes]
                 for w in WEIGHTS[1:]}  # fmt: skip
    table = {
        name: {"auroc": auroc(np.concatenate(m), bad), "ci95": auroc_interval(m, bads)}
        for name, m in measures.items()
    }
    return {
        "ticks": len(bad),
        "bad_ticks": int(bad.sum()),
        "episodes": len(episodes),
        "failing_episodes": sum(bool(b.any()) for b in bads),
        "auroc": table,
    }


def thresholds(episodes: list[EpisodeTicks], weight: float) -> dict[str, float]:
    """Conformal thresholds of the sum with this weight, by call rate."""
    total = np.concatenate([e.entropy + weight * e.spread for e in episodes])
    return {str(rate): conformal_threshold(total, rate) for rate in CALL_RATES}


def laplace_coverage(config: dict[str, Any]) -> dict[str, Any]:
    """Coverage on held-out demonstrations: as trained, and with the scale corrected on one half.

    Halves are of episodes: neighbouring ticks are too alike to be held out from each other.
    """
    from dualsys.learning.dataset import open_datasets
    from dualsys.learning.samples import laplace_errors

    dataset = open_datasets(config["data"])
    first, _ = dataset.episode_bounds()
    rows = np.arange(0, len(first), config["every_ticks"])
    error, scale, chunk = laplace_errors(Path(config["checkpoint"]), dataset, rows)
    episode = np.unique(first, return_inverse=True)[1][rows]
    fitted = (episode[chunk] % 2).astype(bool)
    factor = scale_correction(error[fitted], scale[fitted])
    return {
        "ticks": len(rows),
        "as_trained": coverage(error[~fitted], scale[~fitted], LEVELS),
        "scale_correction": factor,
        "corrected": coverage(error[~fitted], factor * scale[~fitted], LEVELS),
    }


def calibrate(config: dict[str, Any]) -> dict[str, Any]:
    """Calibrate on runs (and a dataset); writes the report to `config["out"]` (JSON)."""
    runs = [Path(run) for run in config["runs"]]
    if not runs:
        raise DualsysError("calibrate needs runs=[DIR,...], folders of `dualsys eval`")
    episodes = [episode for run in runs for episode in episodes_of(run)]
    weight = config["spread_weight"]
    total = np.concatenate([e.entropy + weight * e.spread for e in episodes])
    report = {
        "foretelling": foretelling(episodes),
        "spread_weight": weight,
        "thresholds": thresholds(episodes, weight),
        "reliability": msgspec.to_builtins(
            reliability(total, np.concatenate([e.bad for e in episodes]))
        ),
        "coverage": laplace_coverage(config) if config["data"] else None,
        "config": config,
        "versions": versions(),
        "machine": machine(),
        "git": git_state(),
    }
    out = Path(config["out"])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    return report
