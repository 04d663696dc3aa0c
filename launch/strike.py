"""Strikes System 2 in mid-run and shows what it cost: `python launch/strike.py --out DIR`.

Three realtime runs of one scenario: nothing done, System 2 frozen (SIGSTOP), System 2 killed
(SIGKILL); the supervisor starts it again, once it has been silent for ten seconds or at once.
System 1 must miss no tick because of it, the run must end normally and the report must say that
the guidance aged. Writes strike.json.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dualsys.config import load
from dualsys.console import table_console
from dualsys.errors import DualsysError
from dualsys.messages import Command
from dualsys.runtime.log import read_log
from dualsys.runtime.realtime import realtime
from dualsys.runtime.results import git_state, machine, versions

Processes = dict[str, subprocess.Popen[bytes]]
BLOWS = {"none": None, "SIGSTOP": signal.SIGSTOP, "SIGKILL": signal.SIGKILL}


def struck(config: dict[str, Any], scenario: str, blow: signal.Signals | None) -> dict[str, Any]:
    """Run once; `blow` hits System 2 in the middle. Returns the row of the report."""
    hit_ns: list[int] = []
    middle_s = config["runtime"]["duration_s"] / 2

    def strike(processes: Processes) -> None:
        time.sleep(middle_s + 8)  # the processes take some seconds to start
        if blow is not None and processes["system2"].poll() is None:
            hit_ns.append(time.monotonic_ns())
            os.kill(processes["system2"].pid, blow)

    def started(processes: Processes, folder: Path) -> None:
        threading.Thread(target=strike, args=(processes,), daemon=True).start()

    results = realtime(config, scenario, list(range(100)), started)
    commands = [m for _, m in read_log(Path(config["out"]) / "log.mcap") if isinstance(m, Command)]
    after = [m for m in commands if hit_ns and m.stamp.time_ns > hit_ns[0]]
    return {
        "ticks": results["ticks"],
        "ticks_after_blow": len(after),
        "fallback_after_blow": sum(m.source != "system1" for m in after if m.stamp.tick > 2),
        "guidance": results["guidance"],
        "calls": results["calls"],
        "system1_ms": results["timing"]["system1"],
        "started_again": results["processes"]["system2"]["restarts"],
        "ended": "normally",
    }


def show(rows: dict[str, Any], console: Console) -> None:
    """Print one row per blow."""
    table = Table(title="System 2 struck in mid-run")
    for name in (
        "blow",
        "ticks",
        "missed outside stalls",
        "stalls",
        "ticks after it",
        "of them fallback",
        "oldest guidance s",
        "ticks alone",
        "silent at the end s",
        "started again",
    ):
        table.add_column(name, justify="right")
    for name, row in rows.items():
        ticks, guidance = row["ticks"], row["guidance"]
        silent = guidance["silent_for_s"]
        table.add_row(
            name,
            str(ticks["total"]),
            str(ticks["missed_outside_stalls"]),
            str(ticks["stalls"]),
            str(row["ticks_after_blow"]),
            str(row["fallback_after_blow"]),
            f"{guidance['oldest_s']:.2f}",
            str(guidance["ticks_alone"]),
            "-" if silent is None else f"{silent:.2f}",
            str(row["started_again"]),
        )
    console.print(table)


def main() -> None:
    """Run the three cases, print the table and write strike.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/strike"))
    parser.add_argument("--scenario", default="driving/highway")
    parser.add_argument("--duration-s", type=float, default=30.0)
    options = parser.parse_args()
    rows = {}
    try:
        for name, blow in BLOWS.items():
            words = [f"scenario={options.scenario}", "runtime=realtime", "system2=scripted"]
            words += [f"runtime.duration_s={options.duration_s}", f"out={options.out / name}"]
            words.append("trigger.period_s=0.5")
            config = load("eval", words)
            rows[name] = struck(config, options.scenario, blow)
    except DualsysError as error:
        parser.exit(2, f"strike: {error}\n")
    show(rows, table_console())
    report = {"scenario": options.scenario, "duration_s": options.duration_s, "runs": rows}
    report |= {"versions": versions(), "git": git_state(), "machine": machine()}
    (options.out / "strike.json").write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
