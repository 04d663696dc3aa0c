"""Values of candidates against what really comes of them, from the states of a run's thoughts.

Every candidate is carried out (or gone on from) in its own state, beside System 1 under the plan
alone; the returns are what `ranking` compares the values with.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dualsys.errors import DualsysError
from dualsys.whatif.candidates import (
    Branch,
    carried_out,
    drawn_branches,
    gone_on_from,
    plan_alone,
    realised_return,
)
from dualsys.whatif.junction import Junction, driven_world
from dualsys.whatif.ranking import Ranking, rank
from dualsys.workers import by_scenario, completed


class Trial(msgspec.Struct, frozen=True):
    """How many states of each run are drawn, and how returns are measured there."""

    states: int
    seed: int
    gamma_per_s: float
    horizon_s: float
    cascade: bool  # System 1 goes on from candidates; false: they are carried out as they are


class Job(msgspec.Struct, frozen=True):
    """Some branches of one scenario for one worker."""

    config: dict[str, Any]
    scenario: str
    branches: tuple[Branch, ...]
    trial: Trial


class ValueTrials(msgspec.Struct):
    """What came of the candidates, by scenario; a state is one entry of each list."""

    pairs: dict[str, list[tuple[list[float], list[float]]]]  # (values, returns), both (N,)
    alone: dict[str, list[float]]  # return of System 1 under the plan alone
    seeds: dict[str, list[int]]  # of the episodes the states are from
    unreached: int  # states that were not reached again; they are in neither


def work(job: Job) -> list[list[float] | None]:
    """Returns of every branch: of its plan alone, then of every candidate (a worker's).

    None for a branch whose state is not reached again.
    """
    ways_of = gone_on_from if job.trial.cascade else carried_out
    with driven_world(job.config, job.scenario) as (world, driver):
        rate = world.world_spec.control_rate_hz
        gamma, ticks = job.trial.gamma_per_s ** (1 / rate), round(job.trial.horizon_s * rate)
        found: list[list[float] | None] = []
        for b in job.branches:
            junction = Junction(world, b.seed, b.commands)
            returns = [
                realised_return(world, driver.policy, junction, way, b.tick, gamma, ticks)
                for way in (plan_alone(b), *ways_of(b))
            ]
            reached = [value for value in returns if value is not None]
            found.append(reached if len(reached) == len(returns) else None)
        return found


def jobs_of(runs: list[Path], trial: Trial) -> list[Job]:
    """Branches of runs, drawn without replacement, a few to a job.

    Raises `DualsysError` for a run without a valued thought.
    """
    jobs = []
    for run in runs:
        config, drawn = drawn_branches(run, trial.states, trial.seed)
        config["system1"] |= {"cascade": trial.cascade}
        jobs += [Job(config, scenario, part, trial) for scenario, part in by_scenario(drawn, 4)]
    return jobs


def try_values(jobs: list[Job], workers: int, progress: Callable[[int], None]) -> ValueTrials:
    """The returns of all jobs, in an order that does not depend on the workers.

    `progress` is told numbers of jobs. Raises `DualsysError` when no state is reached again.
    """
    found: dict[int, list[list[float] | None]] = {}
    for number, returns in completed(work, jobs, workers):
        found[number] = returns
        progress(1)
    return gathered(jobs, [found[number] for number in range(len(jobs))])


def gathered(jobs: list[Job], found: list[list[list[float] | None]]) -> ValueTrials:
    """What `work` returned for each job as one; raises as `try_values`."""
    trials = ValueTrials({}, {}, {}, 0)
    for job, returns in zip(jobs, found, strict=True):
        for branch, came in zip(job.branches, returns, strict=True):
            if came is None:
                trials.unreached += 1
                continue
            own, *realised = came
            pair = (branch.values.tolist(), realised)
            trials.pairs.setdefault(job.scenario, []).append(pair)
            trials.alone.setdefault(job.scenario, []).append(own)
            trials.seeds.setdefault(job.scenario, []).append(branch.seed)
    if not trials.pairs:
        raise DualsysError(
            f"none of the {trials.unreached} states was reached again: the runs were driven in "
            "other worlds than these; run them again"
        )
    return trials


def rankings_of(trials: ValueTrials) -> dict[str, Ranking]:
    """The rankings of every scenario, and of all with returns in spreads."""
    pairs = trials.pairs
    values, realised = ({name: np.array([pair[i] for pair in part])
                         for name, part in pairs.items()} for i in (0, 1))  # fmt: skip
    own = {name: np.array(part) for name, part in trials.alone.items()}
    drives = {
        name: np.array([f"{name} {seed}" for seed in part]) for name, part in trials.seeds.items()
    }
    rankings = {name: rank(values[name], realised[name], own[name], drives[name]) for name in pairs}
    if len(pairs) > 1:
        units = {name: _spread(returns) for name, returns in realised.items()}
        rankings["all (gain in spreads)"] = rank(
            np.concatenate(list(values.values())),
            np.concatenate([realised[name] / unit for name, unit in units.items()]),
            np.concatenate([own[name] / unit for name, unit in units.items()]),
            np.concatenate([drives[name] for name in units]),
        )
    return rankings


def _spread(returns: np.ndarray) -> float:
    """Standard deviation of returns (states, N) within their state: the unit that worlds share."""
    return max(float((returns - returns.mean(1, keepdims=True)).std()), 1e-9)
