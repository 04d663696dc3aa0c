"""Runs the matrix of faults, shows what came of each: `python launch/fault_matrix.py --out FILE`.

Seven places, seven kinds, in realtime runs of seven processes on the wall clock. Exits with 1 when
anything is not as docs/safety.md says.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import msgspec
from rich.table import Table

from dualsys.bench.faulted import EXPECTED, Cell, run_place
from dualsys.console import table_console
from dualsys.errors import DualsysError
from dualsys.faults.fault import PLACES
from dualsys.runtime.results import git_state, machine, versions


def rows(cells: list[Cell]) -> list[list[str]]:
    """What a table shows of each cell."""
    found = []
    for cell in cells:
        rung, counter = EXPECTED[cell.place, cell.kind]
        seen = ", ".join(f"{name} {n}" for name, n in cell.rungs.items())
        found.append(
            [
                cell.place,
                cell.kind,
                str(cell.ticks),
                str(cell.unsafe),
                str(cell.late),
                seen,
                rung or "-",
                f"{counter} {cell.counted}" if counter else "-",
                "yes" if cell.recovered else "no",
                "; ".join(cell.amiss) or "as it should be",
            ]
        )
    return found


NAMES = [
    "place",
    "kind",
    "ticks",
    "unsafe",
    "missed",
    "rungs",
    "expected",
    "counter",
    "recovered",
    "",
]


def markdown(cells: list[Cell]) -> str:
    """The table of docs/safety.md."""
    lines = [NAMES[:-1], ["---"] * (len(NAMES) - 1), *(row[:-1] for row in rows(cells))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/faults.json"))
    parser.add_argument("--places", nargs="*", choices=PLACES, default=list(PLACES))
    parser.add_argument("--markdown", action="store_true", help="print the table for the docs")
    options = parser.parse_args()
    cells: list[Cell] = []
    try:
        with tempfile.TemporaryDirectory(prefix="faults-") as folder:
            for place in options.places:
                cells += run_place(place, Path(folder) / place)
    except DualsysError as error:
        parser.exit(2, f"fault_matrix: {error}\n")
    if options.markdown:
        sys.stdout.write(markdown(cells) + "\n")
    else:
        table = Table(*NAMES, title="what came of each fault")
        for row in rows(cells):
            table.add_row(*row)
        table_console().print(table)
    amiss = sum(bool(cell.amiss) for cell in cells)
    report = {
        "cells": [{**msgspec.to_builtins(cell), "amiss": list(cell.amiss)} for cell in cells],
        "amiss": amiss,
        "versions": versions(),
        "git": git_state(),
        "machine": machine(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1))
    sys.exit(1 if amiss else 0)


if __name__ == "__main__":
    main()
