"""Runs with all processes under random faults and random blows: `launch/soak.sh --minutes 60`.

Realtime runs one after the other; in each, faults drawn at random are declared, and processes drawn
at random are killed (SIGKILL) or stand still for a while (SIGSTOP, SIGCONT). After each it looks
for processes, files and memory left behind, unsafe commands and what the log lost. It exits
with 1 when anything is found.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from dualsys.bench.faulted import unsafe
from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.faults.fault import KINDS, PLACES
from dualsys.messages import Command
from dualsys.runtime.log import Damage, read_log
from dualsys.runtime.realtime import realtime
from dualsys.runtime.results import git_state, machine, versions
from dualsys.supervisor.supervisor import Processes

BEFORE_S, AFTER_S = 1.0, 15.0  # what may be missing of the log around a blow to the recorder


class Striker:
    """Hits processes of a run at random times; remembers whom, when and how."""

    def __init__(self, rng: np.random.Generator, every_s: float, world: bool) -> None:
        self._rng, self._every_s, self._world = rng, every_s, world
        self.blows: list[tuple[int, str, str]] = []
        self.pids: set[int] = set()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def started(self, processes: Processes, folder: Path) -> None:
        """Begin; the supervisor's table of processes is a live one."""
        self._thread = threading.Thread(target=self._strike, args=(processes,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No more blows; who stands still goes on."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _strike(self, processes: Processes) -> None:
        while not self._over.wait(self._rng.exponential(self._every_s)):
            there = {n: p.pid for n, p in dict(processes).items() if self._world or n != "world"}
            self.pids |= {process.pid for process in dict(processes).values()}
            if not there:
                continue
            name = str(self._rng.choice(sorted(there)))
            kill = bool(self._rng.random() < 0.5)
            with suppress(ProcessLookupError):
                os.kill(there[name], signal.SIGKILL if kill else signal.SIGSTOP)
                self.blows.append((time.monotonic_ns(), name, "kill" if kill else "stop"))
                if not kill:
                    self._over.wait(float(self._rng.uniform(0.05, 2.0)))
                    os.kill(there[name], signal.SIGCONT)


def drawn_faults(rng: np.random.Generator, seconds: float, count: int) -> str:
    """So many faults of a run, as its configuration takes them."""
    rows = []
    for _ in range(count):
        begin = float(rng.uniform(1, seconds - 4))
        place, kind = str(rng.choice(PLACES)), str(rng.choice(KINDS))
        rows.append(f"{{place: {place}, kind: {kind}, begin_s: {begin:.2f}, "
                    f"end_s: {begin + float(rng.uniform(0.5, 3)):.2f}}}")  # fmt: skip
    return f"faults.declared=[{','.join(rows)}]"


def alive(pids: set[int]) -> list[int]:
    """Which of the processes are still there, but for those that nobody has collected yet."""
    found = []
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            found += [pid] if state != "Z" else []
    return found


def left_behind() -> dict[str, int]:
    """What this process holds: file descriptors, shared memory, resident memory [kB]."""
    status = Path("/proc/self/status").read_text().splitlines()
    resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    shared = len(list(Path("/dev/shm").iterdir())) if Path("/dev/shm").is_dir() else 0
    return {
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "shared": shared,
        "kb": resident,
    }


def examined(log: Path, config: dict[str, Any], blows: list[tuple[int, str, str]]) -> Counter[str]:
    """What is wrong with a run's log: unsafe commands, and ticks lost where nothing excuses it."""
    from sim import registry

    found: Counter[str] = Counter()
    if not log.is_file():
        return found
    damage = Damage()
    messages = [m for _, m in read_log(log, damage) if isinstance(m, Command)]
    messages.sort(key=lambda m: (m.stamp.epoch, m.stamp.tick))
    found["commands"] = len(messages)
    found["unsafe"] = len(unsafe(messages, registry.spec_of(config["scenario"])))
    excused = [ns for ns, name, _ in blows if name in ("recorder", "world")]
    if messages:
        zero = messages[0].stamp.time_ns
        excused += [zero + round(row["begin_s"] * 1e9) for row in config["faults"]["declared"]
                    if row["place"] in ("recorder", "disk")]  # fmt: skip
    for one, two in itertools.pairwise(messages):
        hole = one.stamp.epoch == two.stamp.epoch and two.stamp.tick > one.stamp.tick + 1
        before, after = one.stamp.time_ns, two.stamp.time_ns
        if hole and not any(before - AFTER_S * 1e9 < at < after + BEFORE_S * 1e9 for at in excused):
            found["lost"] += 1
    return found


def one_run(
    number: int, seconds: float, every_s: float, rng: np.random.Generator
) -> dict[str, Any]:
    """One run and what came of it."""
    striker = Striker(rng, every_s, world=bool(rng.random() < 0.2))
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        words = ["scenario=driving/highway", "runtime=realtime", "system2=scripted"]
        words += ["trigger.period_s=0.3", f"runtime.duration_s={seconds}", f"out={folder}"]
        words += ["supervisor.restarts=1000", "supervisor.heartbeat_s=5", f"seeds={number}"]
        words += [drawn_faults(rng, seconds, 5)]
        config = load("eval", words)
        ended = "normally"
        try:
            realtime(config, config["scenario"], list(range(1000)), striker.started)
        except DualsysError as error:
            ended = str(error)
        finally:
            striker.stop()
        found = examined(Path(folder) / "log.mcap", config, striker.blows)
    return {
        "ended": ended,
        "blows": Counter(f"{how} {name}" for _, name, how in striker.blows),
        "orphans": len(alive(striker.pids)),
        **{name: found[name] for name in ("commands", "unsafe", "lost")},
        **left_behind(),
    }


def main() -> None:
    """Soak, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--run-s", type=float, default=60.0)
    parser.add_argument("--every-s", type=float, default=3.0, help="mean time between two blows")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/soak.json"))
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    until, runs = time.monotonic() + 60 * options.minutes, list[dict[str, Any]]()
    try:
        while time.monotonic() < until or len(runs) < 2:
            runs.append(one_run(len(runs), options.run_s, options.every_s, rng))
            sys.stdout.write(f"{json.dumps(runs[-1])}\n")
            sys.stdout.flush()
    except DualsysError as error:
        parser.exit(2, f"soak: {error}\n")
    first, last = runs[min(1, len(runs) - 1)], runs[-1]  # the first run loads what stays
    found = {
        "runs": len(runs),
        "blows": sum(sum(run["blows"].values()) for run in runs),
        **{name: sum(run[name] for run in runs)
           for name in ("commands", "unsafe", "lost", "orphans")},
        "descriptors_more": last["descriptors"] - first["descriptors"],
        "shared_more": last["shared"] - first["shared"],
        "memory_growth": last["kb"] / first["kb"] - 1,
    }  # fmt: skip
    sys.stdout.write(f"{json.dumps(found)}\n")
    report = {**found, "each": runs, "versions": versions(), "git": git_state()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({**report, "machine": machine()}, indent=1))
    wrong = ("unsafe", "lost", "orphans", "descriptors_more", "shared_more")
    sys.exit(1 if any(found[name] > 0 for name in wrong) or found["memory_growth"] > 0.04 else 0)


if __name__ == "__main__":
    main()
