"""Every candidate of a run's thoughts carried out from its own state, recorded as an episode.

Several chunks from one state, each with what came of it: the contrast from which values are
learned. Such an episode is as long as its chunk and ends without being over.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from dualsys.errors import DualsysError
from dualsys.learning.from_log import Recording
from dualsys.learning.shards import (
    Episode,
    finalise,
    settings_guard,
    shard_folder,
    write_shard,
)
from dualsys.messages import Command, Outcome, Stamp
from dualsys.whatif.candidates import Branch
from dualsys.whatif.junction import Junction, tried
from dualsys.workers import by_scenario, completed
from sim import registry


class Job(msgspec.Struct, frozen=True):
    """Some branches of one scenario for one worker."""

    root: str
    scenario: str
    branches: tuple[Branch, ...]


def trial_seed(branch: Branch, number: int) -> int:
    """The name of a trial among a dataset's seeds: episode, tick and candidate in one number."""
    return (branch.seed * 10_000 + branch.tick) * 100 + number


def carry_out(world: Any, junction: Junction, branch: Branch, number: int) -> Episode | None:
    """Candidate `number` of a branch from its state on; None where that state is not reached."""
    reached = junction.reach()
    if reached is None:
        return None
    frame, info = reached
    recording = Recording(0)
    success = over = False
    for step, command in enumerate(branch.candidates[number]):
        observation = tried(world, frame, info, branch.tick + step)
        frame, reward, terminated, truncated, info = world.step(command)
        success, over = success or info["success"], terminated or truncated
        stamp = Stamp(0, 0, step + 1, branch.tick + step, 0)
        recording.take(observation)
        recording.take(Command(stamp, command, "system2", (), -1, 0))
        recording.take(Outcome(stamp, float(reward), terminated, truncated, info["success"], {}))
        if over:
            break
    row = {
        "scenario": branch.scenario,
        "seed": trial_seed(branch, number),
        "success": success,
    }
    episode = recording.episode(row, done=over)
    episode.columns["plan"][:] = branch.guidance.plan
    return episode


def work(job: Job) -> int:
    """Carry out and record what is missing of a job (runs in a worker process)."""
    world, root = registry.make(job.scenario), Path(job.root)
    try:
        for branch in job.branches:
            junction = Junction(world, branch.seed, branch.commands)
            for number in range(len(branch.candidates)):
                if shard_folder(root, branch.scenario, trial_seed(branch, number)).is_dir():
                    continue
                episode = carry_out(world, junction, branch, number)
                if episode is not None:
                    write_shard(root, episode, world.world_spec)
    finally:
        world.close()
    return len(job.branches)


def record_trials(root: Path, branches: list[Branch], workers: int) -> Iterator[int]:
    """Record every candidate of `branches` as a dataset in `root`; yields counts of branches done.

    Interrupted, it leaves whole episodes; called again, it goes on. Raises `DualsysError` when two
    runs hold one episode (scenario and seed), or when the dataset in `root` is of other runs: a
    trial's name does not tell them apart.
    """
    settings_guard(root, {"runs": _runs_of(branches)})
    jobs = [Job(str(root), scenario, part) for scenario, part in by_scenario(branches, 4)]
    for _, count in completed(work, jobs, workers):
        yield count
    finalise(root, registry.spec_of(branches[0].scenario))


def _runs_of(branches: list[Branch]) -> list[str]:
    origin: dict[tuple[str, int], str] = {}
    for branch in branches:
        name = branch.scenario, branch.seed
        if origin.setdefault(name, branch.run) != branch.run:
            raise DualsysError(
                f"{name[0]} seed {name[1]} is in {origin[name]} and in {branch.run}; "
                "make a dataset of each, or run them with other seeds"
            )
    return sorted(set(origin.values()))
