"""Closed-loop evaluation in lockstep: episodes over worker processes, results.json and log.mcap.

Each episode is a function of (configuration, scenario, epoch, seed) alone, so the log is byte-equal
for any number of workers: episodes are logged apart and joined in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from dualsys.runtime import assembly
from dualsys.runtime.episode import EpisodeRecord
from dualsys.runtime.lockstep import Lockstep
from dualsys.runtime.log import LogWriter, NoLog, concatenate
from dualsys.runtime.peers import PeerPolicy
from dualsys.runtime.results import git_state, summarise
from dualsys.spec import WorldSpec
from dualsys.system1.policy import Policy
from dualsys.whatif.oracle import OracleTrigger, check_oracle, make_oracle
from dualsys.workers import completed

Config = dict[str, Any]


class Job(msgspec.Struct, frozen=True):
    """Consecutive episodes of one scenario for one worker."""

    config: Config
    scenario: str
    episodes: tuple[tuple[int, int], ...]  # (epoch, seed)
    folder: str


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
    codes: dict[str, int]  # how often each plan and code was sent


class Rig:
    """All that drives one scenario, put together once for several episodes."""

    def __init__(self, config: Config, world: Any) -> None:
        from sim import registry

        spec = world.world_spec
        self.period_ns, driver = spec.period_ns, config["system1"]["driver"]
        planner = assembly.make_planner(config, spec, dict(world.plan_hints))
        oracle: OracleTrigger | None = None
        if driver == "network":
            choice = assembly.make_engine(config, spec)
            self.engine = {"used": choice.engine.name, "refused": choice.refused}
            if config["trigger"]["name"] == "oracle":
                oracle = make_oracle(config, world, choice.engine, planner)
            policy: Policy | PeerPolicy = assembly.make_policy(config, spec, choice.engine, oracle)
        else:
            self.engine = {"used": driver, "refused": {}}
            policy = PeerPolicy(
                spec, registry.peer_for(world, driver, config["system1"]["checkpoint"])
            )
        policy.warm_up()
        self.shield = assembly.make_shield(config, spec)
        self.lockstep = Lockstep(
            world,
            policy,
            planner,
            self.shield,
            assembly.make_latency(config),
            assembly.session_of(config),
            config["system2"]["budget"],
            registry.expert_for(world) if config["runtime"]["labels"] else None,
            round(config["runtime"]["episode_s"] * spec.control_rate_hz),
            oracle,
        )

    def run(self, epoch: int, seed: int, log: Path | None = None) -> EpisodeRecord:
        """Run one episode; its messages go to the file `log`, which appears whole or not at all."""
        if log is None:
            return self.lockstep.run(epoch, seed, NoLog())
        partial = log.with_suffix(".partial")
        with LogWriter(partial, {}) as writer:
            record = self.lockstep.run(epoch, seed, writer)
        partial.replace(log)
        return record


def check_trigger(config: Config, spec: WorldSpec) -> None:
    """Raise `DualsysError` for a trigger that lockstep could not make for these worlds."""
    if config["trigger"]["name"] == "oracle":
        check_oracle(config, spec)
    else:
        assembly.make_trigger(config, spec)


@contextmanager
def rig(config: Config, scenario: str) -> Iterator[Rig]:
    """A rig for a scenario of the registry; for worker processes."""
    import torch

    from sim import registry

    torch.set_num_threads(1)  # sums in another order would change the last bit
    world = registry.make(scenario)
    try:
        yield Rig(config, world)
    finally:
        world.close()


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
