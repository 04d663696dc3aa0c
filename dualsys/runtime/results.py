"""`results.json`: what a run came to, and everything needed to repeat it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dualsys.device import planner_device
from dualsys.statistics import wilson
from dualsys.system2.coding import message_bits

SCHEMA = "dualsys-results/1"
_PACKAGES = (
    "dualsys",
    "torch",
    "onnxruntime",
    "numpy",
    "mujoco",
    "metaworld",
    "gymnasium",
    "highway-env",
    "stable-baselines3",
    "msgspec",
    "mcap",
    "pyzmq",
    "hydra-core",
)
_CODE = ("*.py", "conf/*.yaml")


class JobResult(msgspec.Struct, frozen=True):
    """What a worker measured: result rows and, apart, what depends on the machine."""

    scenario: str
    rows: list[dict[str, Any]]
    plan_age_ticks: list[int]
    observation_age_ns: list[int]
    stage_ns: dict[str, list[int]]
    drops: dict[str, int]
    shield: dict[str, int]
    period_ns: int
    engine: dict[str, Any]  # which one ran, and why those before it in the list did not
    planner_engine: dict[str, Any]  # the same of System 2; empty where it has no model here
    codes: dict[str, int]  # how often each plan and code was sent


def summarise(
    config: dict[str, Any],
    scenarios: list[str],
    results: list[JobResult],
    git: dict[str, Any],
) -> dict[str, Any]:
    """Put the results of all jobs together; the fields are those the README names.

    `git` is the state of the tree when the run began: the code that ran.
    """
    rows = [row for result in results for row in result.rows]
    stages: dict[str, list[int]] = {}
    for result in results:
        for stage, values in result.stage_ns.items():
            stages.setdefault(stage, []).extend(values)
    periods = {result.scenario: result.period_ns for result in results}
    plan_age_ns = [a * r.period_ns for r in results for a in r.plan_age_ticks]
    ages_ns = [age for r in results for age in r.observation_age_ns]
    return {
        "schema": SCHEMA,
        "scenario": scenarios[0] if len(scenarios) == 1 else scenarios,
        "runtime": config["runtime"]["name"],
        "system1": config["system1"],
        "system2": {**config["system2"], **_model(config["system2"], results[0].planner_engine)},
        "trigger": config["trigger"],
        "engine": {**config["engine"], **results[0].engine},
        "latency": config["latency"],
        "episodes": rows,
        "summary": {**summary(rows), "by_scenario": by_scenario(rows)},
        "timing": {stage: percentiles_ms(values) for stage, values in stages.items()},
        "age": {
            "observation_to_action": percentiles_ms(ages_ns),
            "plan": percentiles_ms(plan_age_ns),
        },
        "guidance": guidance(plan_age_ns, sum(row["steps"] for row in rows)),
        "codes": codes(_total(result.codes for result in results)),
        "rates": rates(results),
        "ticks": {"total": sum(row["steps"] for row in rows), "missed": 0, "stalls": 0},
        "calls": sum(row["calls"] for row in rows),
        "drops": _total(result.drops for result in results),
        "shield": _total(result.shield for result in results),
        "rungs": _total(row["rungs"] for row in rows),
        "control_rate_hz": {name: 1e9 / period for name, period in periods.items()},
        "versions": versions(),
        "config": config,
        "git": git,
        "machine": machine(),
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rates over the completed episodes with Wilson intervals; means over all episodes.

    An episode that the run's duration cut off says nothing about success; the rates are None when
    there is no other. So is that of collisions in worlds that measure none.
    """
    whole = [row for row in rows if row["completed"]]
    count = len(whole)
    successes = sum(row["success"] for row in whole)
    judged = [row["collision"] for row in whole if row["collision"] is not None]
    collisions = sum(judged)
    return {
        "episodes": count,
        "cut_off": len(rows) - count,
        "success_rate": successes / count if count else None,
        "success_ci95": wilson(successes, count),
        "collision_rate": collisions / len(judged) if judged else None,
        "collision_ci95": wilson(collisions, len(judged)),
        "mean_return": float(np.mean([row["return"] for row in rows])),
        "mean_steps": float(np.mean([row["steps"] for row in rows])),
        "mean_jerk": float(np.mean([row["jerk"] for row in rows])),
        "mean_seam_jump": float(np.mean([row["seam_jump"] for row in rows])),
        "calls_per_episode": float(np.mean([row["calls"] for row in rows])),
        "fallback_ticks": sum(row["fallback_ticks"] for row in rows),
    }


def by_scenario(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """`summary` of each scenario apart."""
    names = dict.fromkeys(row["scenario"] for row in rows)
    return {name: summary([r for r in rows if r["scenario"] == name]) for name in names}


def rates(results: list[JobResult]) -> dict[str, float]:
    """Network passes and actions per second of world time, kept apart (never multiplied)."""
    ticks = sum(row["steps"] for result in results for row in result.rows)
    passes = sum(row["passes"] for result in results for row in result.rows)
    seconds = sum(r.period_ns * row["steps"] / 1e9 for r in results for row in r.rows)
    return {"network_hz": passes / seconds, "action_hz": ticks / seconds}


def guidance(ages_ns: list[int], ticks: int) -> dict[str, float]:
    """How far System 1 was on its own: oldest guidance in use, ticks with none in force."""
    oldest = max(ages_ns, default=0) / 1e9
    return {"oldest_s": oldest, "ticks_alone": ticks - len(ages_ns), "ticks": ticks}


def codes(counts: dict[str, int]) -> dict[str, float]:
    """Messages of System 2, how many different ones, and the bits that each carried."""
    return {
        "messages": sum(counts.values()),
        "different": len(counts),
        **message_bits(counts),
    }


def percentiles_ms(values_ns: list[int]) -> dict[str, float]:
    """p50, p99, p99.9 and maximum [ms] of durations [ns]; empty without any."""
    if not values_ns:
        return {}
    values = np.asarray(values_ns) / 1e6
    p50, p99, p999 = (float(v) for v in np.percentile(values, [50, 99, 99.9]))
    return {"p50_ms": p50, "p99_ms": p99, "p999_ms": p999, "max_ms": float(values.max())}


def versions() -> dict[str, str]:
    """Versions of the packages that decide results."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def git_state() -> dict[str, Any]:
    """Commit, whether what runs differs from it, and a hash of how; empty outside a checkout.

    What runs: every tracked file, and files of Python and of configuration that are not tracked.
    """
    root = Path(__file__).parents[2]
    try:
        commit = _git(root, "rev-parse", "HEAD").decode().strip()
        changes = _git(root, "diff", "HEAD", "--full-index", "--no-ext-diff", "--no-color")
        strange = _git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", *_CODE)
        for name in filter(None, strange.decode().split("\0")):
            changes += f"\n+++ {name}\n".encode() + (root / name).read_bytes()
    except (OSError, subprocess.CalledProcessError):
        return {}
    if not changes:
        return {"commit": commit, "dirty": False}
    return {"commit": commit, "dirty": True, "changes": hashlib.sha256(changes).hexdigest()}


def _git(root: Path, *words: str) -> bytes:
    return subprocess.run(["git", "-C", str(root), *words], capture_output=True, check=True).stdout


def machine() -> dict[str, Any]:
    """Processor, cores and system; no host name and no path."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    import multiprocessing

    return {
        "processor": model,
        "cores": multiprocessing.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
    }


def _model(system2: dict[str, Any], engine: dict[str, Any]) -> dict[str, Any]:
    """Where and by which engine a planner's own model ran; nothing for the others."""
    device = planner_device(system2)
    known = {} if device is None else {"device": device}
    return known | ({"engine": {"names": system2["engine"], **engine}} if engine else {})


def _total(counts: Any) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total)
