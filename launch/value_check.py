"""Do values order what really comes of the candidates? `python launch/value_check.py RUN ...`.

Takes valued thoughts of runs (`dualsys eval system2=vlm ...`), reaches each state again, carries
every candidate out from there, and compares values with realised returns: rank correlation, gain
of the argmax, how often it beats a random pick, and what it brings over System 1 under the
plan alone, each with its interval. With `--cascade`, System 1 goes on from every candidate.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.table import Table

from dualsys.console import percent, progress_bar, table_console
from dualsys.environment import set_headless_defaults
from dualsys.errors import DualsysError
from dualsys.runtime.results import git_state, machine, versions
from dualsys.whatif import candidates
from dualsys.whatif.candidates import Branch, drawn_branches, in_parts, realised_return
from dualsys.whatif.junction import Junction, driven_world
from dualsys.whatif.ranking import Ranking, rank
from dualsys.workers import completed


class Job(msgspec.Struct, frozen=True):
    """Some branches of one scenario for one worker."""

    config: dict[str, Any]
    scenario: str
    branches: tuple[Branch, ...]
    gamma_per_s: float
    horizon_s: float
    cascade: bool


def work(job: Job) -> list[list[float]]:
    """Realised returns of every branch: of its plan alone, then of every candidate (a worker's)."""
    ways_of = candidates.gone_on_from if job.cascade else candidates.carried_out
    with driven_world(job.config, job.scenario) as (world, policy):
        rate = world.world_spec.control_rate_hz
        gamma, ticks = job.gamma_per_s ** (1 / rate), round(job.horizon_s * rate)
        found = []
        for b in job.branches:
            junction = Junction(world, b.seed, b.commands)
            ways = [candidates.plan_alone(b), *ways_of(b)]
            found.append(
                [realised_return(world, policy, junction, w, b.tick, gamma, ticks) for w in ways]
            )
        return found


def jobs_of(run: Path, options: argparse.Namespace) -> list[Job]:
    """Some branches of a run, drawn without replacement, a few to a job."""
    config, drawn = drawn_branches(run, options.states, options.seed)
    config["system1"] |= {"cascade": options.cascade}
    asked = options.gamma, options.horizon_s, options.cascade
    return [Job(config, scenario, part, *asked) for scenario, part in in_parts(drawn)]


def tried_out(jobs: list[Job], workers: int) -> list[list[list[float]]]:
    """The returns of all jobs, in their order."""
    found: dict[int, list[list[float]]] = {}
    with progress_bar() as bar:
        task = bar.add_task("rolled out", total=len(jobs), note="")
        for number, returns in completed(work, jobs, workers):
            found[number] = returns
            bar.update(task, advance=1)
    return [found[number] for number in range(len(jobs))]


def spread(returns: np.ndarray) -> float:
    """Standard deviation of returns (states, N) within their state: the unit that worlds share."""
    return max(float((returns - returns.mean(1, keepdims=True)).std()), 1e-9)


def ranked(
    pairs: dict[str, list[tuple[list[float], list[float]]]], alone: dict[str, list[float]]
) -> dict[str, Ranking]:
    """The rankings of every scenario, and of all with returns in spreads."""
    values, realised = ({name: np.array([pair[i] for pair in part])
                         for name, part in pairs.items()} for i in (0, 1))  # fmt: skip
    own = {name: np.array(part) for name, part in alone.items()}
    rankings = {name: rank(values[name], realised[name], own[name]) for name in pairs}
    if len(pairs) > 1:
        units = {name: spread(returns) for name, returns in realised.items()}
        rankings["all (gain in spreads)"] = rank(
            np.concatenate(list(values.values())),
            np.concatenate([realised[name] / unit for name, unit in units.items()]),
            np.concatenate([own[name] / unit for name, unit in units.items()]),
        )
    return rankings


def show(rankings: dict[str, Ranking]) -> None:
    """Print one row per scenario and one for all."""
    table = Table(title="values against realised returns")
    for name in ("scenario", "states", "rank correlation", "argmax gain", "beats random",
                 "over plan alone"):  # fmt: skip
        table.add_column(name, justify="left" if name == "scenario" else "right", no_wrap=True)
    for name, row in rankings.items():
        low, high = row.spearman_ci95
        gain = row.argmax_gain_ci95
        beats = row.beats_random_ci95
        over = row.over_alone_ci95
        table.add_row(
            name,
            str(row.states),
            f"{row.spearman:.2f} ({low:.2f} .. {high:.2f})",
            f"{row.argmax_gain:.3f} ({gain[0]:.3f} .. {gain[1]:.3f})",
            f"{percent(row.beats_random)} ({percent(beats[0])} .. {percent(beats[1])})",
            f"{row.over_alone:.3f} ({over[0]:.3f} .. {over[1]:.3f})",
        )
    table_console().print(table)


def main() -> None:
    """Carry the candidates out, print the table, write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--states", type=int, default=100, help="per run")
    parser.add_argument("--gamma", type=float, default=0.8, help="discount per second")
    parser.add_argument("--horizon-s", type=float, default=4.0)
    parser.add_argument("--cascade", action="store_true", help="System 1 goes on from them")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/values.json"))
    options = parser.parse_args()
    set_headless_defaults()
    git = git_state()
    try:
        jobs = [job for run in options.runs for job in jobs_of(run, options)]
    except DualsysError as error:
        parser.exit(2, f"value_check: {error}\n")
    found = tried_out(jobs, options.workers)
    pairs: dict[str, list[tuple[list[float], list[float]]]] = {}
    alone: dict[str, list[float]] = {}
    for job, returns in zip(jobs, found, strict=True):
        for branch, (own, *realised) in zip(job.branches, returns, strict=True):
            pairs.setdefault(job.scenario, []).append((branch.values.tolist(), realised))
            alone.setdefault(job.scenario, []).append(own)
    rankings = ranked(pairs, alone)
    show(rankings)
    report = {
        "rankings": msgspec.to_builtins(rankings),
        "pairs": pairs,
        "alone": alone,
        "cascade": options.cascade,
        "gamma_per_s": options.gamma,
        "horizon_s": options.horizon_s,
        "versions": versions(),
        "machine": machine(),
        "git": git,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
