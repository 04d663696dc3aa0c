"""One table of several runs: `python launch/results_table.py [--markdown] RESULTS.json ...`.

Prints what the files hold and nothing else; the README's tables are made by it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.table import Table

from dualsys.console import percent, table_console
from dualsys.errors import DualsysError
from dualsys.runtime.results import SCHEMA

COLUMNS = (
    "scenario",
    "runtime",
    "System 2",
    "episodes",
    "success",
    "95% interval",
    "no collision, 95% interval",
    "calls",
    "missed ticks",
    "System 1 pass p50 / p99 ms",
)


def load(path: Path) -> dict[str, Any]:
    """Read one results file. Raises `DualsysError` when it is missing or of another schema."""
    try:
        results: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DualsysError(f"{path} is no results.json of dualsys: {error}") from error
    if results.get("schema") != SCHEMA:
        raise DualsysError(f"{path} has schema {results.get('schema')!r}, expected {SCHEMA!r}")
    return results


def rows(results: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row per scenario of a run, and one for all of a suite."""
    found = dict(results["summary"]["by_scenario"])
    if len(found) > 1:
        found["mean"] = results["summary"]
    return [_row(name, summary, results) for name, summary in found.items()]


def _row(name: str, summary: dict[str, Any], results: dict[str, Any]) -> tuple[str, ...]:
    low, high = summary["success_ci95"]
    driving = name.startswith("driving") or str(results["scenario"]).count("driving") > 1
    ticks, compute = results["ticks"], results["timing"].get("system1_pass", {})
    missed = "-"  # virtual time misses nothing
    if results["runtime"] == "realtime":
        share = ticks["missed_outside_stalls"] / max(1, ticks["total"])
        missed = f"{ticks['missed_outside_stalls']} of {ticks['total']} ({share:.2%})"
        missed += f", {ticks['stalls']} stalls"
    return (
        name,
        results["runtime"],
        results["system2"]["name"],
        str(summary["episodes"]),
        percent(summary["success_rate"]),
        f"{low:.1%} .. {high:.1%}",
        _unharmed(summary) if driving and summary["episodes"] else "-",
        f"{summary['calls_per_episode']:.1f}",
        missed,
        f"{compute.get('p50_ms', 0):.2f} / {compute.get('p99_ms', 0):.2f}" if compute else "-",
    )


def _unharmed(summary: dict[str, Any]) -> str:
    low, high = summary["collision_ci95"]
    return f"{1 - summary['collision_rate']:.1%}, {1 - high:.1%} .. {1 - low:.1%}"


def main() -> None:
    """Print the table on the terminal or as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    console = table_console()
    try:
        table = [row for path in options.files for row in rows(load(path))]
    except DualsysError as error:
        parser.exit(2, f"results_table: {error}\n")
    if options.markdown:
        for row in (COLUMNS, ("---",) * len(COLUMNS), *table):
            console.print(f"| {' | '.join(row)} |", soft_wrap=True, markup=False, highlight=False)
        return
    grid = Table()
    for index, name in enumerate(COLUMNS):
        grid.add_column(name, justify="left" if index < 3 else "right")
    for row in table:
        grid.add_row(*row)
    console.print(grid)


if __name__ == "__main__":
    main()
