"""Can the long tail be solved? `python launch/solvable.py --seeds 0:20 [--difficulty 0.5 1.0]`.

Drives every kind of `suite=longtail` with three drivers that see the simulator's state: one that
holds lane and speed, the rule-based expert, and the search planner over copies of the simulator.
Exits with 1 when the search planner solves less than 90% of the drives of some kind.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.table import Table

from dualsys.config import parse_seeds
from dualsys.console import progress_bar, table_console
from dualsys.environment import set_headless_defaults
from dualsys.errors import DualsysError
from dualsys.runtime.results import git_state, machine, versions
from dualsys.statistics import wilson
from dualsys.workers import completed
from sim import registry
from sim.driving.scenarios import UNSEEN

DRIVERS = ("holds on", "rules", "search")
SOLVABLE = 0.9  # share of its drives that the search planner has to solve of every kind


class Job(msgspec.Struct, frozen=True):
    """One driver in one scenario."""

    scenario: str
    driver: str
    seeds: tuple[int, ...]


def work(job: Job) -> list[tuple[bool, bool]]:
    """(success, collision) per seed (runs in a worker process)."""
    world = registry.make(job.scenario)
    driver: Any = None
    if job.driver == "rules":
        driver = registry.expert_for(world)
    elif job.driver == "search":
        from sim.experts.search import SearchExpert

        driver = SearchExpert(world)
    found = []
    for seed in job.seeds:
        _, info = world.reset(seed=seed)
        if driver is not None:
            driver.reset()
        ended = False
        while not ended:
            command = np.zeros(2, np.float32) if driver is None else driver.act()[0]
            _, _, terminated, truncated, info = world.step(command)
            ended = terminated or truncated
        found.append((info["success"], info["collision"]))
    world.close()
    return found


def rates(ends: list[tuple[bool, bool]]) -> dict[str, Any]:
    """Rates with their Wilson intervals."""
    solved, harmed = (sum(end[n] for end in ends) for n in (0, 1))
    return {
        "episodes": len(ends),
        "success_rate": solved / len(ends),
        "success_ci95": wilson(solved, len(ends)),
        "collision_rate": harmed / len(ends),
        "collision_ci95": wilson(harmed, len(ends)),
    }


def show(report: dict[str, dict[str, Any]]) -> None:
    """Print one row per scenario."""
    table = Table(title="share of drives that succeed, by driver")
    table.add_column("scenario")
    for name in DRIVERS:
        table.add_column(name, justify="right")
    for scenario, row in report.items():
        cells = (f"{row[d]['success_rate']:.0%}" for d in DRIVERS)
        table.add_row(scenario + (" (unseen)" if scenario_kind(scenario) in UNSEEN else ""), *cells)
    table_console().print(table)


def least_solved(report: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Per difficulty, the kind that the search planner solves the least share of, and the share."""
    found: dict[str, dict[str, Any]] = {}
    for scenario, row in report.items():
        share, difficulty = row["search"]["success_rate"], scenario.partition("@")[2]
        if difficulty not in found or share < found[difficulty]["success_rate"]:
            found[difficulty] = {"kind": scenario_kind(scenario), "success_rate": share}
    return found


def say(least: dict[str, dict[str, Any]]) -> bool:
    """Print the least share of each difficulty; True when all suffice."""
    for difficulty, row in least.items():
        verdict = "solvable" if row["success_rate"] >= SOLVABLE else "NOT solvable"
        table_console().print(
            f"difficulty {difficulty}: the search solves at least {row['success_rate']:.0%} of "
            f"every kind ({row['kind']}), {SOLVABLE:.0%} are needed: {verdict}",
            soft_wrap=True,
        )
    return all(row["success_rate"] >= SOLVABLE for row in least.values())


def scenario_kind(scenario: str) -> str:
    """The kind's name without domain and difficulty."""
    return scenario.removeprefix("driving/").partition("@")[0]


def main() -> None:
    """Drive, print table and verdict, write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0:20")
    parser.add_argument("--difficulty", type=float, nargs="+", default=[0.5, 1.0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/solvable.json"))
    options = parser.parse_args()
    set_headless_defaults()
    git = git_state()
    try:
        seeds = tuple(parse_seeds(options.seeds))
        kinds = registry.suite("longtail")
        scenarios = [f"{kind}@{d}" for kind in kinds for d in options.difficulty]
        for scenario in scenarios:
            registry.require(scenario)
    except DualsysError as error:
        parser.exit(2, f"solvable: {error}\n")
    jobs = [Job(scenario, driver, seeds) for scenario in scenarios for driver in DRIVERS]
    report: dict[str, dict[str, Any]] = {scenario: {} for scenario in scenarios}
    with progress_bar() as bar:
        task = bar.add_task("drives", total=len(jobs) * len(seeds), note="")
        for number, ends in completed(work, jobs, options.workers):
            job = jobs[number]
            report[job.scenario][job.driver] = rates(ends)
            bar.update(task, advance=len(ends), note=job.scenario)
    show(report)
    least = least_solved(report)
    solvable = say(least)
    found = {"scenarios": report, "least_solved": least, "needed": SOLVABLE, "solvable": solvable}
    found |= {"seeds": options.seeds, "difficulties": options.difficulty, "unseen": list(UNSEEN)}
    found |= {"versions": versions(), "machine": machine(), "git": git}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1))
    parser.exit(0 if solvable else 1)


if __name__ == "__main__":
    main()
