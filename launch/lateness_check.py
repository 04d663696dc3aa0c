"""Does a busy System 2 make System 1 late? `python launch/lateness_check.py --out FILE`.

Realtime runs in turns, System 2 idle (asked once) and busy (asked at every tick, every question),
each on a core of its own. Lateness is from the observation's time to the action's; ticks that a
stall of the machine reaches are taken out. Exits with 1 when the busy p99 is 1.2 times the idle one
or more.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from dualsys.bench.lateness import lateness, ratio
from dualsys.config import load
from dualsys.console import table_console
from dualsys.errors import DualsysError
from dualsys.messages import Guidance
from dualsys.runtime.log import read_log
from dualsys.runtime.realtime import realtime
from dualsys.runtime.results import git_state, machine, versions

MODES = {
    "idle": ["trigger=periodic", "trigger.period_s=10000"],
    "busy": ["trigger=always", "system2.budget=full", "system2.candidates=5"],
}
MOST = 1.2


def timed(config: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
    """Run once; milliseconds from observation to action of every tick that no stall reached."""
    results = realtime(config, config["scenario"], list(range(1000)))
    log = [message for _, message in read_log(Path(config["out"]) / "log.mcap")]
    stalls, kept = results["ticks"]["stalled_ns"], lateness(log, results["ticks"]["stalled_ns"])
    told = {"ticks": results["ticks"]["total"], "stalls": len(stalls), "kept": len(kept.late_ms)}
    answers = sum(isinstance(message, Guidance) for message in log)
    return kept.late_ms, told | {"calls": results["calls"], "answers": answers}


def compared(found: dict[str, list[np.ndarray]], rng: np.random.Generator) -> dict[str, Any]:
    """p50 and p99 of each mode, and their ratio with an interval."""
    whole = {mode: np.concatenate(parts) for mode, parts in found.items()}
    shown: dict[str, Any] = {
        mode: {f"p{q}": float(np.percentile(times, q)) for q in (50, 99)}
        for mode, times in whole.items()
    }
    for q in (50, 99):
        shown[f"ratio_p{q}"] = ratio([whole["busy"]], [whole["idle"]], q, rng)
    return shown


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/lateness.json"))
    parser.add_argument("--scenario", default="driving/highway")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--duration-s", type=float, default=30.0)
    options = parser.parse_args()
    cores = [f"supervisor.processes.{name}.cores=[1]" for name in ("system1", "world")]
    cores += ["supervisor.processes.system2.cores=[0]", "supervisor.processes.recorder.cores=[0]"]
    found: dict[str, list[np.ndarray]] = {mode: [] for mode in MODES}
    runs = []
    try:
        with tempfile.TemporaryDirectory(prefix="lateness-") as folder:
            for number in range(options.rounds):
                for mode, words in MODES.items():
                    run = [f"scenario={options.scenario}", "runtime=realtime", "system2=vlm"]
                    run += [f"runtime.duration_s={options.duration_s}", f"out={folder}/{mode}"]
                    times, told = timed(load("eval", [*run, *words, *cores]))
                    found[mode].append(times)
                    runs.append({"round": number, "mode": mode, **told})
    except DualsysError as error:
        parser.exit(2, f"lateness_check: {error}\n")
    shown = compared(found, np.random.default_rng(0))
    table = Table("System 2", "ticks", "p50 ms", "p99 ms", title="observation to action")
    for mode in MODES:
        count = sum(len(part) for part in found[mode])
        table.add_row(mode, str(count), *(f"{v:.2f}" for v in shown[mode].values()))
    console = table_console()
    console.print(table)
    for name in ("ratio_p50", "ratio_p99"):
        low, high = shown[name]["ci95"]
        console.print(f"{name}: {shown[name]['ratio']:.2f} ({low:.2f} .. {high:.2f})")
    report = {**shown, "runs": runs, "versions": versions(), "git": git_state()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({**report, "machine": machine()}, indent=1))
    sys.exit(1 if shown["ratio_p99"]["ratio"] >= MOST else 0)


if __name__ == "__main__":
    main()
