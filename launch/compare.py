"""Two variants of a finished benchmark in pairs: `python launch/compare.py DIR ONE OTHER`.

A table compares each variant with one other; here any two, paired by scenario and seed as there.
It is one comparison more, so its p-values are not corrected.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table

from dualsys.bench.store import REPORT, Cell, read_header, read_row
from dualsys.bench.summary import compare
from dualsys.console import percent, table_console
from dualsys.errors import DualsysError, UnknownNameError

KEPT = ("scenarios", "seeds", "shared", "contents", "versions", "git")


def compared(root: Path, one: str, other: str) -> dict[str, Any]:
    """Differences of `one` against `other` in a benchmark's folder, and what the benchmark was.

    Raises `DualsysError` for a folder without a finished benchmark, `UnknownNameError` for a
    variant that it has not.
    """
    read_header(root)
    path = root / REPORT
    if not path.is_file():
        raise DualsysError(f"{root} is not finished; run: dualsys bench --resume out={root}")
    report = msgspec.json.decode(path.read_bytes())
    for name in (one, other):
        if name not in report["variants"]:
            raise UnknownNameError("variant", name, report["variants"])
    keys = [(scenario, seed) for scenario in report["scenarios"] for seed in report["seeds"]]
    mine, theirs = (
        {key: read_row(root, Cell(name, *key)) for key in keys} for name in (one, other)
    )
    kept = {key: report[key] for key in KEPT}
    return {"variant": one, "against": other, "compared": compare(mine, theirs), **kept}


def show(found: dict[str, Any]) -> None:
    """Print one row per pool or scenario and measure."""
    table = Table(title=f"{found['variant']} against {found['against']}, in pairs")
    for name in ("scenario", "measure", "pairs", "gain", "95% interval", "p, not corrected"):
        table.add_column(name, justify="left" if name in ("scenario", "measure") else "right")
    for group, measures in found["compared"].items():
        for name, cell in measures.items():
            low, high = cell["ci95"]
            gain = f"{cell['mean']:+.3f}" if name == "score" else percent(cell["mean"])
            told = f"{low:+.3f} .. {high:+.3f}"
            table.add_row(group, name, str(cell["pairs"]), gain, told, f"{cell['p']:.3f}")
    table_console().print(table)


def main() -> None:
    """Compare, print the table, write the file where one is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("benchmark", type=Path)
    parser.add_argument("variant")
    parser.add_argument("against")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    try:
        found = compared(options.benchmark, options.variant, options.against)
    except DualsysError as error:
        parser.exit(2, f"compare: {error}\n")
    show(found)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
