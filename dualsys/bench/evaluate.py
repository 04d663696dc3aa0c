"""Closed-loop evaluation in lockstep: episodes over worker processes, results.json and log.mcap.

Each episode is a function of (configuration, scenario, epoch, seed) alone, so the log is byte-equal
for any number of workers: episodes are logged apart and joined in order. Random calls and latencies
belong to scenario and seed; what a planner draws, and System 1's noise, to the epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from dualsys.bench.rig import rig
from dualsys.runtime import assembly
from dualsys.runtime.log import concatenate
from dualsys.runtime.results import JobResult, git_state, summarise
from dualsys.workers import completed

Config = dict[str, Any]


class Job(msgspec.Struct, frozen=True):
    """Consecutive episodes of one scenario for one worker."""

    config: Config
    scenario: str
    episodes: tuple[tuple[int, int], ...]  # (epoch, seed)
    folder: str


def run_job(job: Job) -> JobResult:
    """Run the episodes of a job (in a worker process)."""
    rows, plan_ages, observation_ages = [], [], []
    with rig(job.config, job.scenario) as driven:
        for epoch, seed in job.episodes:
            record = driven.run(epoch, seed, episode_log(Path(job.folder), epoch))
            rows.append({"scenario": job.scenario, "epoch": epoch, **record.row})
            plan_ages += record.plan_age_ticks
            observation_ages += record.observation_age_ns
        lockstep = driven.lockstep
        return JobResult(
            job.scenario,
            rows,
            plan_ages,
            observation_ages,
            dict(lockstep.stage_ns),
            dict(lockstep.drops),
            driven.shield.counts,
            driven.period_ns,
            driven.engine,
            driven.planner_engine,
            dict(lockstep.codes),
        )


def episode_log(folder: Path, epoch: int) -> Path:
    """Where a worker leaves the messages of one episode until they are joined."""
    return folder / "episodes" / f"{epoch:06d}.mcap"


def evaluate(
    config: Config,
    scenarios: list[str],
    seeds: list[int],
    progress: Callable[[JobResult], None],
    episodes_per_job: int = 5,
) -> dict[str, Any]:
    """Run every (scenario, seed) and write results.json and log.mcap. Returns the results."""
    folder, git = Path(config["out"]), git_state()
    (folder / "episodes").mkdir(parents=True, exist_ok=True)
    jobs, epoch = [], 0
    for scenario in scenarios:
        for at in range(0, len(seeds), episodes_per_job):
            part = seeds[at : at + episodes_per_job]
            episodes = tuple((epoch + i, seed) for i, seed in enumerate(part))
            jobs.append(Job(config, scenario, episodes, str(folder)))
            epoch += len(part)
    results: dict[int, JobResult] = {}
    try:
        for number, result in completed(run_job, jobs, config["workers"]):
            results[number] = result
            progress(result)
    finally:
        # Also after a failure or Ctrl-C: what was finished is written, and says it is not all.
        summary = _write(config, scenarios, jobs, results, git) if results else {}
    return summary


def _write(
    config: Config,
    scenarios: list[str],
    jobs: list[Job],
    results: dict[int, JobResult],
    git: dict[str, Any],
) -> dict[str, Any]:
    """Write results.json and log.mcap of the finished jobs, in order. Returns the results."""
    folder, finished = Path(config["out"]), sorted(results)
    summary = summarise(config, scenarios, [results[number] for number in finished], git)
    summary["complete"] = len(finished) == len(jobs)
    summary["episodes_asked"] = sum(len(job.episodes) for job in jobs)
    partial = folder / "results.json.partial"
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=1))
    partial.replace(folder / "results.json")
    header = {
        "config": {k: v for k, v in config.items() if k not in assembly.MACHINE_KEYS},
        "scenarios": scenarios,
        "session": assembly.session_of(config),
    }
    epochs = [epoch for number in finished for epoch, _ in jobs[number].episodes]
    parts = [episode_log(folder, epoch) for epoch in epochs]
    concatenate(parts, folder / "log.mcap", header)
    for part in parts:
        part.unlink()
    if summary["complete"]:
        (folder / "episodes").rmdir()
    return summary
