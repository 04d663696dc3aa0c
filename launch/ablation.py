"""What each part of System 2 brings: `python launch/ablation.py suite=mt10 --seeds 0:20 --out DIR`.

Runs every variant of the table below on the same seeds in lockstep and compares each with the one
it is to be compared with, paired by scenario and seed. A variant that is already there is not run
again. Further words are overrides of `dualsys eval` for all variants (latency=trace ...).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.table import Table

from dualsys.commands import run_eval
from dualsys.config import load
from dualsys.console import percent, table_console
from dualsys.environment import set_headless_defaults
from dualsys.errors import DualsysError
from dualsys.runtime.assembly import session_of
from dualsys.runtime.results import git_state, machine, versions
from dualsys.statistics import paired as differences


class Variant(msgspec.Struct, frozen=True):
    """Overrides of `dualsys eval`, and the variant whose results it is compared with."""

    words: tuple[str, ...]
    against: str


VLM = ("system2=vlm", "system2.candidates=5", "system2.send_code=true")
VARIANTS = {
    "scripted planner": Variant(("system2=scripted",), "System 1 alone"),
    "System 1 alone": Variant(("system2=none",), ""),
    "plan": Variant((*VLM, "system2.candidates=0", "system2.send_code=false"), "System 1 alone"),
    "plan, code of 8 bits": Variant(
        (*VLM, "system2.candidates=0", "system2.code_levels=2"), "plan"
    ),
    "plan, code of 13 bits": Variant(
        (*VLM, "system2.candidates=0", "system2.code_levels=3"), "plan"
    ),
    "plan, code of 16 bits": Variant((*VLM, "system2.candidates=0"), "plan"),
    "random of 5, carried out": Variant(
        (*VLM, "system2.choice=random", "system1.cascade=false"), "plan, code of 16 bits"
    ),
    "best of 5, carried out": Variant((*VLM, "system1.cascade=false"), "random of 5, carried out"),
    "random of 5, cascade": Variant((*VLM, "system2.choice=random"), "random of 5, carried out"),
    "best of 5, cascade": Variant(VLM, "random of 5, cascade"),
    "best of 2, cascade": Variant((*VLM, "system2.candidates=2"), "best of 1, cascade"),
    "best of 1, cascade": Variant((*VLM, "system2.candidates=1"), "plan, code of 16 bits"),
    "no visual prompts": Variant((*VLM, "system2.prompts=false"), "best of 5, cascade"),
    "full thought": Variant((*VLM, "system2.budget=full"), "best of 5, cascade"),
}


def outcomes(results: dict[str, Any]) -> dict[tuple[str, int], tuple[bool, bool, float]]:
    """(scenario, seed) -> success, collision, return of the completed episodes."""
    return {
        (row["scenario"], row["seed"]): (row["success"], row["collision"], row["return"])
        for row in results["episodes"]
        if row["completed"]
    }


def paired(one: dict[str, Any], other: dict[str, Any], field: int) -> dict[str, Any]:
    """Mean difference of a field over the episodes both have, with its 95% bootstrap interval."""
    a, b = outcomes(one), outcomes(other)
    both = sorted(a.keys() & b.keys())
    mine, theirs = (np.array([found[key][field] for key in both]) for found in (a, b))
    found = differences(mine, theirs)
    return {
        "episodes": found.pairs,
        "difference": found.mean,
        "ci95": list(found.ci95),
        "p": found.p,
        "shown": found.shown,
    }


def run_variant(words: list[str], out: Path) -> dict[str, Any]:
    """Run one variant, unless a finished run of the same configuration is there."""
    config = load("eval", [*words, f"out={out}"])
    file = out / "results.json"
    if file.is_file():
        there: dict[str, Any] = json.loads(file.read_text())
        if there["complete"] and session_of(there["config"]) == session_of(config):
            return there
    run_eval(config)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def compare(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One row per variant, with its paired difference where its counterpart has run, too."""
    rows = {}
    for name, results in found.items():
        against = VARIANTS[name].against
        row = {key: results["summary"][key] for key in
               ("episodes", "success_rate", "success_ci95", "collision_rate", "collision_ci95",
                "mean_return", "calls_per_episode")}  # fmt: skip
        row |= {"bits": results["codes"]["bits"], "against": against, "git": results["git"]}
        row["by_scenario"] = {
            scenario: summary["success_rate"]
            for scenario, summary in results["summary"]["by_scenario"].items()
        }
        if against in found:
            for number, field in enumerate(("success", "collision", "return")):
                row[f"{field}_gain"] = paired(results, found[against], number)
        rows[name] = row
    return rows


COLUMNS = ("variant", "success", "95% interval", "collisions", "bits", "calls", "against", "gain")


def cells(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    """One line of the table."""
    low, high = row["success_ci95"]
    gain, said = row.get("success_gain"), ""
    if gain is not None:
        a, b = gain["ci95"]
        said = f"{gain['difference']:+.1%} ({a:+.1%} .. {b:+.1%})"
        said += "" if gain["shown"] else ", no difference shown"
    return (
        name,
        percent(row["success_rate"]),
        f"{low:.1%} .. {high:.1%}",
        percent(row["collision_rate"]),
        f"{row['bits']:.1f}",
        f"{row['calls_per_episode']:.1f}",
        row["against"],
        said,
    )


def show(rows: dict[str, Any], markdown: bool) -> None:
    """Print the table on the terminal or as Markdown."""
    console, lines = table_console(), [cells(name, row) for name, row in rows.items()]
    if markdown:
        for line in (COLUMNS, ("---",) * len(COLUMNS), *lines):
            console.print(f"| {' | '.join(line)} |", soft_wrap=True, markup=False, highlight=False)
        return
    table = Table(title="what each part brings (paired by seed)")
    for name in COLUMNS:
        left = name in ("variant", "against", "gain")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    console.print(table)


def main() -> None:
    """Run the variants that are wanted, print the table, write ablation.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("overrides", nargs="+", help="suite=... or scenario=..., and others")
    parser.add_argument("--seeds", default="0:20")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_intermixed_args()
    set_headless_defaults()
    shared = [*options.overrides, f"seeds={options.seeds}", f"workers={options.workers}"]
    found = {}
    try:
        for name in options.only:
            folder = options.out / name.replace(", ", "-").replace(" ", "_")
            found[name] = run_variant([*VARIANTS[name].words, *shared], folder)
    except DualsysError as error:
        parser.exit(2, f"ablation: {error}\n")
    rows = compare(found)
    show(rows, options.markdown)
    report = {"overrides": options.overrides, "seeds": options.seeds, "variants": rows}
    report |= {"versions": versions(), "machine": machine(), "git": git_state()}
    (options.out / "ablation.json").write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
