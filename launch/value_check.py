"""Do values order what really comes of the candidates? `python launch/value_check.py RUN ...`.

Takes valued thoughts of runs (`dualsys eval system2=vlm ...`), reaches each state again, carries
every candidate out from there, and compares values with realised returns: rank correlation, gain
of the argmax, how often it beats a random pick, and what it brings over System 1 under the
plan alone, each with its interval. With `--cascade`, System 1 goes on from every candidate.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table

from dualsys.bench.contents import contents
from dualsys.console import progress_bar, ranged, table_console
from dualsys.environment import set_headless_defaults
from dualsys.errors import DualsysError
from dualsys.runtime.assembly import require_no_code
from dualsys.runtime.results import git_state, machine, versions
from dualsys.whatif.ranking import Ranking
from dualsys.whatif.value_trials import Trial, jobs_of, rankings_of, try_values
from sim import registry


def show(rankings: dict[str, Ranking]) -> None:
    """Print one row per scenario and one for all."""
    table = Table(title="values against realised returns")
    for name in ("scenario", "states", "rank correlation", "argmax gain", "beats random",
                 "over plan alone"):  # fmt: skip
        table.add_column(name, justify="left" if name == "scenario" else "right", no_wrap=True)
    for name, row in rankings.items():
        table.add_row(
            name,
            str(row.states),
            ranged(row.spearman, row.spearman_ci95, ".2f"),
            ranged(row.argmax_gain, row.argmax_gain_ci95, ".3f"),
            ranged(row.beats_random, row.beats_random_ci95, ".1%"),
            ranged(row.over_alone, row.over_alone_ci95, ".3f"),
        )
    table_console().print(table)


def of_run(run: Path) -> dict[str, Any]:
    """What a run was, and what its weights hold now: whose values these are."""
    results = msgspec.json.decode((run / "results.json").read_bytes())
    config = require_no_code(results["config"], f"{run}/results.json")
    told = results["scenario"]
    spec = registry.spec_of(told if isinstance(told, str) else told[0])
    kept = {key: results[key] for key in ("scenario", "git", "config")}
    return {"run": str(run), **kept, "contents": contents([config], spec)}


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
    trial = Trial(options.states, options.seed, options.gamma, options.horizon_s, options.cascade)
    git = git_state()
    try:
        jobs = jobs_of(options.runs, trial)
        with progress_bar() as bar:
            task = bar.add_task("rolled out", total=len(jobs), note="")
            trials = try_values(jobs, options.workers, lambda n: bar.update(task, advance=n))
    except DualsysError as error:
        parser.exit(2, f"value_check: {error}\n")
    rankings = rankings_of(trials)
    show(rankings)
    if trials.unreached:
        table_console().print(f"{trials.unreached} states were not reached again and are left out")
    report = {
        "rankings": msgspec.to_builtins(rankings),
        **msgspec.to_builtins(trials),
        "runs": [of_run(run) for run in options.runs],
        "states_per_run": options.states,
        "seed": options.seed,
        "cascade": options.cascade,
        "gamma_per_s": options.gamma,
        "horizon_s": options.horizon_s,
        "versions": versions(),
        "machine": machine(),
        "git": git,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))


if __name__ == "__main__":
    main()
