"""What does a view beside a run cost System 1? `python launch/view_cost.py --out FILE`.

One realtime run, in which the viewer looks on and is frozen in turns; ticks that a stall of the
machine reaches are taken out. Exits with 1 when System 1's time per tick is 2% higher at p99 with
the viewer than without.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from dualsys.bench.lateness import Lateness, lateness, ratio
from dualsys.config import load
from dualsys.console import table_console
from dualsys.errors import DualsysError
from dualsys.runtime.log import read_log
from dualsys.runtime.realtime import realtime
from dualsys.runtime.results import git_state, machine, versions
from dualsys.view.beside import viewed

MOST = 1.02
COMES_S = 10.0  # Python and Rerun load, the log so far is read


class Turns(threading.Thread):
    """Freezes and thaws the viewer until it is told to stop; `seen` and `unseen` are the times.

    What was recorded while it was frozen it shows afterwards, so that its turns cost more than a
    viewer does that is there all the time.
    """

    def __init__(self, how: str, out: Path, turn_s: float, taken: list[int]) -> None:
        super().__init__()
        self._how, self._out, self._turn_s, self._taken = how, out, turn_s, taken
        self._over = threading.Event()
        self.seen: list[tuple[int, int]] = []
        self.unseen: list[tuple[int, int]] = []

    def run(self) -> None:
        """In turns, as long as one another."""
        while not (self._out / "log.mcap").is_file() and not self._over.wait(0.2):
            pass
        with viewed(self._how, self._out, self._taken) as viewer:
            assert viewer is not None
            self._over.wait(COMES_S)
            while not self._over.is_set():
                os.killpg(viewer.pid, signal.SIGSTOP)
                self.unseen.append(self._wait())
                os.killpg(viewer.pid, signal.SIGCONT)
                self.seen.append(self._wait())

    def _wait(self) -> tuple[int, int]:
        begin = time.monotonic_ns()
        self._over.wait(self._turn_s)
        return begin, time.monotonic_ns()

    def end(self) -> None:
        """The run is over; what was open is closed."""
        self._over.set()
        self.join()


def within(found: Lateness, turns: list[tuple[int, int]]) -> list[Lateness]:
    """The ticks of each turn."""
    kept = [(begin <= found.at_ns) & (found.at_ns < end) for begin, end in turns]
    return [Lateness(*(column[these] for column in found)) for these in kept if these.any()]


def compared(seen: list[Lateness], unseen: list[Lateness]) -> dict[str, Any]:
    """Percentiles with and without, and their ratios with intervals drawn by turns."""
    rng, shown = np.random.default_rng(0), dict[str, Any]()
    for name in ("act_ms", "late_ms"):
        more, less = ([getattr(turn, name) for turn in turns] for turns in (seen, unseen))
        shown[name] = {
            f"p{q}": {
                "viewed": float(np.percentile(np.concatenate(more), q)),
                "alone": float(np.percentile(np.concatenate(less), q)),
                **ratio(more, less, q, rng),
            }
            for q in (50, 99)
        }
    ticks = {"viewed": seen, "alone": unseen}
    shown["ticks"] = {name: sum(len(t.at_ns) for t in turns) for name, turns in ticks.items()}
    return {**shown, "turns": {name: len(turns) for name, turns in ticks.items()}}


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/view-cost.json"))
    parser.add_argument("--scenario", default="manipulation/push")
    parser.add_argument("--how", default="file", choices=("file", "browser", "window"))
    parser.add_argument("--duration-s", type=float, default=400.0)
    parser.add_argument("--turn-s", type=float, default=2.0)
    parser.add_argument("words", nargs="*", help="overrides of `dualsys run`")
    options = parser.parse_args()
    words = [f"scenario={options.scenario}", "runtime=realtime", "system2=scripted"]
    words += [f"runtime.duration_s={options.duration_s}", *options.words]
    git = git_state()
    try:
        with tempfile.TemporaryDirectory(prefix="view-") as folder:
            config = load("run", [*words, f"out={folder}"])
            taken = config["supervisor"]["processes"]["system1"]["cores"]
            turns = Turns(options.how, Path(folder), options.turn_s, taken)
            turns.start()
            try:
                results = realtime(config, options.scenario, list(range(1000)))
            finally:
                turns.end()
            log = (message for _, message in read_log(Path(folder) / "log.mcap"))
            found = lateness(log, results["ticks"]["stalled_ns"])
    except DualsysError as error:
        parser.exit(2, f"view_cost: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "view_cost: interrupted; nothing is written\n")
    if not turns.seen:
        parser.exit(2, "view_cost: the run ended before the viewer's first turn; give it longer\n")
    shown = compared(within(found, turns.seen), within(found, turns.unseen))
    show(shown)
    ticks = {k: results["ticks"][k] for k in ("total", "missed", "stalls", "longest_stall_ms")}
    report = {**shown, "run": ticks, "versions": versions(), "git": git, "machine": machine()}
    given = {k: v for k, v in vars(options).items() if k != "out"}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({**report, "conditions": given}, indent=1))
    sys.exit(1 if shown["act_ms"]["p99"]["ratio"] >= MOST else 0)


def show(shown: dict[str, Any]) -> None:
    """Print a table."""
    table = Table("", "alone ms", "viewed ms", "ratio", title="System 1, with and without a viewer")
    for name, told in (("act_ms", "its time per tick"), ("late_ms", "observation to action")):
        for q in ("p50", "p99"):
            row = shown[name][q]
            low, high = row["ci95"]
            ends = f"{row['ratio']:.3f} ({low:.3f} .. {high:.3f})"
            table.add_row(f"{told}, {q}", f"{row['alone']:.3f}", f"{row['viewed']:.3f}", ends)
    table_console().print(table)


if __name__ == "__main__":
    main()
