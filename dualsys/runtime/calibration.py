"""`dualsys calibrate`: what System 1's uncertainty foretells, and the thresholds that it gives.

Logged runs tell what came of each tick (`LABELS`) and how often the gate would have called; a
held-out dataset tells how often the expert's commands lie in the Laplace intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dualsys.errors import DualsysError
from dualsys.messages import Action, Outcome
from dualsys.runtime.assembly import checkpoint_folder
from dualsys.runtime.fates import harmful
from dualsys.runtime.log import read_log
from dualsys.runtime.results import git_state, machine, versions
from dualsys.runtime.thresholds import Measured, Threshold, weights_digest
from dualsys.runtime.tick_cost import uncertainty_cost
from dualsys.trigger.calibrate import (
    auroc,
    auroc_interval,
    calls_per_tick,
    conformal_threshold,
    coverage,
    reliability,
    scale_correction,
)
from dualsys.trigger.rules import UncertaintyTrigger
from sim import registry

AHEAD_S = 2.0
LABELS = {
    "harm": f"the first collision or leaving of the road, within {AHEAD_S:g} s (ticks after it are "
    "left out)",
    "failure": "a failure of the whole episode (every tick of it; a task that is not solved in "
    "time fails at no moment)",
}
"""What makes a tick bad: "harm" where the world tells of it (driving), "failure" elsewhere."""

LEVELS = (0.5, 0.8, 0.9, 0.95)
SHARES = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)  # of ticks
COST_ROUNDS = 200  # passes of either kind that are timed
WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0)  # of the spread in the sum


class EpisodeTicks(msgspec.Struct):
    """Uncertainty of every answered tick of one episode, and which of them are bad (`LABELS`)."""

    entropy: np.ndarray  # (T,)
    spread: np.ndarray  # (T,)
    bad: np.ndarray  # bool (T,)
    ticks: np.ndarray  # (T,), rising
    until_harm: int  # so many come before the first harm; T where none came, or none is known of

    @property
    def foretelling(self) -> EpisodeTicks:
        """The ticks at which harm was still to come, if any: later ones detect, they foretell not.

        A car that has left the road drives on, ever so unsure.
        """
        cut = slice(self.until_harm)
        return EpisodeTicks(
            self.entropy[cut], self.spread[cut], self.bad[cut], self.ticks[cut], self.until_harm
        )


def _results(run: Path) -> dict[str, Any]:
    if not (run / "results.json").is_file():
        raise DualsysError(f"{run} is not the folder of a run; give the out= of a `dualsys eval`")
    found: dict[str, Any] = msgspec.json.decode((run / "results.json").read_bytes())
    driver = found["config"]["system1"].get("driver", "network")
    if driver != "network":
        raise DualsysError(
            f"System 1 of {run} is {driver}, `dualsys calibrate` knows what the network of dualsys "
            "says of itself; take a quantile of the uncertainties in its log for trigger.threshold"
        )
    return found


def label_of(domain: str) -> str:
    """Which of `LABELS` makes a tick bad in the worlds of a domain."""
    return "harm" if domain == "driving" else "failure"


def measured(runs: Sequence[Path], spread_weight: float) -> Measured:
    """Whose uncertainty the runs hold. Raises `DualsysError` when they are not of one System 1."""
    found: dict[Measured, Path] = {}
    for run in runs:
        results = _results(run)
        system1 = results["config"]["system1"]
        for scenario in {row["scenario"] for row in results["episodes"]}:
            spec = registry.spec_of(scenario)
            whose = Measured(
                spec.domain,
                spec.control_rate_hz,
                system1["checkpoint"],
                weights_digest(checkpoint_folder(results["config"], spec)),
                system1["samples"],
                spread_weight,
            )
            found[whose] = run
    if len(found) > 1:
        (one, first), (other, second) = list(found.items())[:2]
        raise DualsysError(
            f"{first} and {second} are not of one System 1 in one domain ({one} and {other}); "
            "calibrate them apart"
        )
    return next(iter(found))


def episodes_of(run: Path) -> list[EpisodeTicks]:
    """The episodes of a run's folder. Raises `DualsysError` for no run."""
    results = _results(run)
    weight = results["config"]["system1"].get("spread_weight", 0.0)
    rows = {row["epoch"]: row for row in results["episodes"]}
    told: dict[int, dict[int, Action]] = {}
    harmed: dict[int, int] = {}  # epoch -> tick in which harm first came
    for _, message in read_log(run / "log.mcap"):
        if isinstance(message, Action):
            told.setdefault(message.stamp.epoch, {})[message.stamp.tick] = message
        elif isinstance(message, Outcome) and harmful(message):
            harmed.setdefault(message.stamp.epoch, message.stamp.tick)
    found = []
    for epoch, actions in told.items():
        row = rows[epoch]
        spec = registry.spec_of(row["scenario"])
        ticks = np.array(sorted(actions))
        spread = np.nan_to_num(np.array([actions[t].spread for t in ticks]))
        total = np.array([actions[t].uncertainty for t in ticks])
        bad, until_harm = np.full(len(ticks), not row["success"]), len(ticks)
        if label_of(spec.domain) == "harm":
            # An outcome is what the tick ends with: at its beginning harm was still to come.
            ahead = harmed.get(epoch, np.inf) - ticks
            bad = (ahead >= 0) & (ahead <= AHEAD_S * spec.control_rate_hz)
            until_harm = int((ahead >= 0).sum())
        found.append(EpisodeTicks(total - weight * spread, spread, bad, ticks, until_harm))
    return found


def foretelling(episodes: list[EpisodeTicks]) -> dict[str, Any]:
    """AUROC of each measure with intervals over episodes, at the ticks that can foretell."""
    episodes = [e.foretelling for e in episodes]
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


def thresholds(
    episodes: list[EpisodeTicks], whose: Measured, trigger: dict[str, Any]
) -> list[Threshold]:
    """Conformal thresholds of the uncertainty, by the share of ticks above them.

    Their calls are counted by replaying the recorded uncertainties through `UncertaintyTrigger`,
    as if calls had changed nothing. `trigger` as in conf/trigger/uncertainty.yaml.
    """
    if trigger["name"] != "uncertainty" or trigger["max_age_s"] is not None:
        raise DualsysError(
            "calibrate replays trigger=uncertainty without trigger.max_age_s (what guidance there "
            f"would have been is not known), not trigger={trigger['name']} with "
            f"trigger.max_age_s={trigger['max_age_s']}"
        )
    replayed = [(e.ticks, e.entropy + whose.spread_weight * e.spread) for e in episodes]
    total = np.concatenate([uncertainty for _, uncertainty in replayed])
    apart = round(trigger["refractory_s"] * whose.control_rate_hz)
    found = []
    for share in SHARES:
        limit = conformal_threshold(total, share)
        gate = UncertaintyTrigger(limit, trigger["hysteresis"], apart, None)
        found.append(Threshold(share, limit, calls_per_tick(replayed, gate)))
    return found


def laplace_coverage(config: dict[str, Any]) -> dict[str, Any]:
    """Coverage on held-out demonstrations: as trained, and with the scale corrected on one half.

    Halves are of episodes: neighbouring ticks are too alike to be held out from each other.
    """
    from dualsys.learning.joined import open_datasets
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


def cost_of(run: Path, trigger: dict[str, Any]) -> dict[str, Any]:
    """What the uncertainty costs in a tick of the first world of a run."""
    results = _results(run)
    spec = registry.spec_of(results["episodes"][0]["scenario"])
    gate = UncertaintyTrigger(0.0, trigger["hysteresis"], 1, None)
    return uncertainty_cost(results["config"], spec, gate, COST_ROUNDS)


def calibrate(config: dict[str, Any]) -> dict[str, Any]:
    """Calibrate on runs (and a dataset); writes the report to `config["out"]` (JSON)."""
    runs = [Path(run) for run in config["runs"]]
    if not runs:
        raise DualsysError("calibrate needs runs=[DIR,...], folders of `dualsys eval`")
    weight, trigger = config["spread_weight"], config["trigger"]
    whose = measured(runs, weight)
    episodes = [episode for run in runs for episode in episodes_of(run)]
    before = [episode.foretelling for episode in episodes]
    report = {
        "measured": msgspec.to_builtins(whose),
        "foretelling": {"bad": LABELS[label_of(whose.domain)], **foretelling(episodes)},
        "hysteresis": trigger["hysteresis"],
        "refractory_s": trigger["refractory_s"],
        "thresholds": msgspec.to_builtins(thresholds(episodes, whose, trigger)),
        "reliability": msgspec.to_builtins(
            reliability(
                np.concatenate([e.entropy + weight * e.spread for e in before]),
                np.concatenate([e.bad for e in before]),
            )
        ),
        "coverage": laplace_coverage(config) if config["data"] else None,
        "cost": cost_of(runs[0], trigger),
        "config": config,
        "versions": versions(),
        "machine": machine(),
        "git": git_state(),
    }
    out = Path(config["out"])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    return report
