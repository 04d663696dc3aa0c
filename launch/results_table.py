"""One table of several results files: `python launch/results_table.py [--markdown] FILE ...`.

The files are of runs (`dualsys eval`), or of planners' answers (`dualsys score`).

Prints what the files hold and nothing else; the README's tables are made by it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from dualsys.console import percent, table_console
from dualsys.errors import DualsysError
from dualsys.learning.score_planner import SCHEMA as SCORE
from dualsys.runtime.results import SCHEMA as RUN

RUN_COLUMNS = (
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


SCORE_COLUMNS = (
    "planner",
    "ticks of drives or episodes",
    "question",
    "tokens right, 95% interval",
    "answers right, 95% interval",
    "the most frequent answer",
    "every answer counted alike",
    "blind",
)


def load(path: Path) -> dict[str, Any]:
    """Read one results file. Raises `DualsysError` when it is missing or of no known schema."""
    try:
        results: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DualsysError(f"{path} is no results.json of dualsys: {error}") from error
    if results.get("schema") not in TABLES:
        raise DualsysError(f"{path} has schema {results.get('schema')!r}, known are {[*TABLES]}")
    return results


def table(files: Sequence[Path]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows of the files. Raises `DualsysError` for files of two kinds."""
    found = [load(path) for path in files]
    kinds = {results["schema"] for results in found}
    if len(kinds) > 1:
        raise DualsysError(f"the files are of {sorted(kinds)}; make a table of each kind")
    columns, rows = TABLES[kinds.pop()]
    return columns, [row for results in found for row in rows(results)]


def score_rows(score: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row per question."""
    about = score["config"]["planner"], f"{score['ticks']} of {score['episodes']}"
    return [
        (
            *about,
            name,
            _with_interval(row, "token_accuracy"),
            _with_interval(row, "answer_accuracy"),
            percent(row["most_frequent"]),
            percent(row["balanced_accuracy"]),
            percent(1 / row["answers_seen"]),
        )
        for name, row in score["questions"].items()
    ]


def _with_interval(row: dict[str, Any], name: str) -> str:
    low, high = row[f"{name}_ci95"]
    return f"{percent(row[name])}, {low:.1%} .. {high:.1%}"


def run_rows(results: dict[str, Any]) -> list[tuple[str, ...]]:
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


TABLES: dict[str, tuple[tuple[str, ...], Callable[[dict[str, Any]], list[tuple[str, ...]]]]] = {
    RUN: (RUN_COLUMNS, run_rows),
    SCORE: (SCORE_COLUMNS, score_rows),
}


def main() -> None:
    """Print the table on the terminal or as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    console = table_console()
    try:
        columns, rows = table(options.files)
    except DualsysError as error:
        parser.exit(2, f"results_table: {error}\n")
    if options.markdown:
        for row in (columns, ("---",) * len(columns), *rows):
            console.print(f"| {' | '.join(row)} |", soft_wrap=True, markup=False, highlight=False)
        return
    grid = Table()
    for index, name in enumerate(columns):
        grid.add_column(name, justify="left" if index < 3 else "right")
    for row in rows:
        grid.add_row(*row)
    console.print(grid)


if __name__ == "__main__":
    main()
