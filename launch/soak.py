"""Runs with all processes under random faults and random blows: `launch/soak.sh --blows 1000`.

Realtime runs one after the other, until the time is over and the blows are dealt. In each, faults
drawn at random are declared, and processes drawn at random are killed (SIGKILL) or stand still for
a while (SIGSTOP, SIGCONT); the last one is left in peace, to see whether its processes grow. After
each it looks for processes, files and memory left behind, unsafe commands and what the log lost.
It exits with 1 when anything is found.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dualsys.bench.faulted import unsafe
from dualsys.bench.soaked import Blow, Footprint, excuses, first_tick_ns, growth, lost
from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.faults.fault import KINDS, PLACES
from dualsys.messages import Command
from dualsys.runtime.log import Damage, read_log
from dualsys.runtime.realtime import realtime
from dualsys.runtime.results import git_state, machine, versions
from dualsys.supervisor.supervisor import Processes

FAULT_EVERY_S = 12.0
LOOK_EVERY_S = 0.5
SHARED = Path("/dev/shm")
GROWS_AT_MOST = 0.04  # of resident memory
PLANNER_EVERY, WORLD_EVERY = 4, 5  # every such run has the shipped planner; hits the world too
WRONG = ("unsafe", "lost", "damaged", "orphans", "descriptors_more", "segments")


class Striker:
    """Hits processes of a run at random times, and looks at what they hold."""

    def __init__(self, rng: np.random.Generator, every_s: float, spared: tuple[str, ...]) -> None:
        """`every_s` is the mean time between two blows, 0 for none."""
        self._rng, self._every_s, self._spared = rng, every_s, spared
        self.blows: list[Blow] = []
        self.footprints: list[Footprint] = []
        self.folder = Path()
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def started(self, processes: Processes, folder: Path) -> None:
        """Begin; the supervisor's table of processes is a live one."""
        self.folder = folder
        work = [self._look, self._strike] if self._every_s else [self._look]
        self._threads = [threading.Thread(target=do, args=(processes,), daemon=True) for do in work]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """No more blows; who stands still goes on."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _strike(self, processes: Processes) -> None:
        while not self._over.wait(self._rng.exponential(self._every_s)):
            there = {n: p.pid for n, p in dict(processes).items() if n not in self._spared}
            if not there:
                continue
            name = str(self._rng.choice(sorted(there)))
            kill = bool(self._rng.random() < 0.5)
            begin = time.monotonic_ns()
            try:
                os.kill(there[name], signal.SIGKILL if kill else signal.SIGSTOP)
            except ProcessLookupError:
                continue
            if not kill:
                self._over.wait(float(self._rng.uniform(0.05, 2.0)))
                with suppress(ProcessLookupError):  # a declared fault may kill it meanwhile
                    os.kill(there[name], signal.SIGCONT)
            end = begin if kill else time.monotonic_ns()
            self.blows.append(Blow(begin, end, name, "kill" if kill else "stop"))

    def _look(self, processes: Processes) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            for name, process in dict(processes).items():
                with suppress(FileNotFoundError, ProcessLookupError, StopIteration):
                    self.footprints.append(footprint(name, process.pid))


def footprint(name: str, pid: int) -> Footprint:
    """What a process holds now."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Footprint(time.monotonic_ns(), name, pid, resident, descriptors)


def drawn_faults(rng: np.random.Generator, seconds: float) -> str:
    """A run's faults, as its configuration takes them."""
    rows = []
    for _ in range(round(seconds / FAULT_EVERY_S)):
        begin = float(rng.uniform(1, seconds - 4))
        place, kind = str(rng.choice(PLACES)), str(rng.choice(KINDS))
        rows.append(f"{{place: {place}, kind: {kind}, begin_s: {begin:.2f}, "
                    f"end_s: {begin + float(rng.uniform(0.5, 3)):.2f}}}")  # fmt: skip
    return f"faults.declared=[{','.join(rows)}]"


def orphans(folder: Path) -> int:
    """How many processes still work in a run's folder."""
    found = 0
    for place in Path("/proc").iterdir():
        with suppress(OSError):
            if place.name.isdigit() and str(folder).encode() in (place / "cmdline").read_bytes():
                found += 1
    return found


def segments() -> set[str]:
    """The shared memory of this machine, by name."""
    return {path.name for path in SHARED.iterdir()} if SHARED.is_dir() else set()


def left_in_memory(before: set[str]) -> int:
    """How many segments came since and belong to nobody who lives: other programs make some too."""
    new = segments() - before
    for place in Path("/proc").iterdir() if new else ():
        with suppress(OSError):
            if place.name.isdigit():
                maps = (place / "maps").read_text()
                new -= {name for name in new if str(SHARED / name) in maps}
    return len(new)


def examined(log: Path, config: dict[str, Any], blows: list[Blow]) -> dict[str, int]:
    """What is wrong with a run's log; nothing, where a run was ended before it had one."""
    from sim import registry

    if not log.is_file():
        return {"commands": 0, "unsafe": 0, "lost": 0, "damaged": 0}
    damage = Damage()
    commands = [m for _, m in read_log(log, damage) if isinstance(m, Command)]
    commands.sort(key=lambda m: (m.stamp.epoch, m.stamp.tick))
    faults = config["faults"]["declared"]
    spec = registry.spec_of(config["scenario"])
    first_ns = first_tick_ns(commands, spec.period_ns) if commands else 0
    garbled = any(row["place"] == "disk" for row in faults)
    return {
        "commands": len(commands),
        "unsafe": len(unsafe(commands, spec)),
        "lost": len(lost(commands, excuses(blows, faults, first_ns))),
        "damaged": 0 if garbled else damage.chunks,
    }


def configured(number: int, seconds: float, faults: list[str], folder: str) -> dict[str, Any]:
    """The configuration of a run; patience with restarts has no end here."""
    planner = "vlm" if number % PLANNER_EVERY == PLANNER_EVERY - 1 else "scripted"
    words = ["scenario=driving/highway", "runtime=realtime", f"system2={planner}"]
    words += ["trigger=periodic", "trigger.period_s=0.3", f"out={folder}", f"seeds={number}"]
    words += [f"runtime.duration_s={seconds}", "supervisor.heartbeat_s=5"]
    return load("eval", [*words, "supervisor.restarts=1000", *faults])


def one_run(number: int, seconds: float, every_s: float, seed: int) -> dict[str, Any]:
    """One run and what came of it; one without blows is one without faults too."""
    rng = np.random.default_rng([seed, number])
    spared = () if number % WORLD_EVERY == WORLD_EVERY - 1 else ("world",)
    striker = Striker(rng, every_s, spared)
    folder = tempfile.mkdtemp(prefix="soak-")
    faults = [drawn_faults(rng, seconds)] if every_s else []
    config, ended, before = configured(number, seconds, faults, folder), "normally", segments()
    try:
        realtime(config, config["scenario"], list(range(10000)), striker.started)
    except DualsysError as error:
        ended = str(error)
    finally:
        striker.stop()
    found = examined(Path(folder) / "log.mcap", config, striker.blows)
    if any(found[name] for name in WRONG if name in found):
        (Path(folder) / "blows.json").write_bytes(msgspec.json.encode(striker.blows))
        sys.stderr.write(f"soak: something is amiss, what there is of it stays in {folder}\n")
    else:
        shutil.rmtree(folder)
    own = footprint("supervisor", os.getpid())
    return {
        "planner": config["system2"]["name"],
        "ended": ended,
        "blows": dict(Counter(f"{blow.how} {blow.process}" for blow in striker.blows)),
        "orphans": orphans(striker.folder),
        **found,
        "growth": growth(striker.footprints) if not every_s else {},
        "resident_kb": own.resident_kb,
        "descriptors": own.descriptors,
        "segments": left_in_memory(before),
    }


def summed_up(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """What was found over all runs."""
    first, last = runs[min(1, len(runs) - 1)], runs[-1]  # the first run loads what stays
    grown = {name: row["memory"] for name, row in last["growth"].items()}
    held = [row["descriptors"] for row in last["growth"].values()]
    own = last["descriptors"] - first["descriptors"]
    return {
        "runs": len(runs),
        "blows": sum(sum(run["blows"].values()) for run in runs),
        **{name: sum(run[name] for run in runs)
           for name in ("commands", "unsafe", "lost", "damaged", "orphans", "segments")},
        "descriptors_more": max(own, *held, 0) if held else max(own, 0),
        "memory_growth": grown | {"supervisor": last["resident_kb"] / first["resident_kb"] - 1},
    }  # fmt: skip


def main() -> None:
    """Soak, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="at least")
    parser.add_argument("--blows", type=int, default=1000, help="at least")
    parser.add_argument("--run-s", type=float, default=120.0)
    parser.add_argument("--calm-s", type=float, default=600.0, help="of the last run")
    parser.add_argument("--every-s", type=float, default=2.0, help="mean time between two blows")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/soak.json"))
    options = parser.parse_args()
    begun, runs, dealt, git = time.monotonic(), list[dict[str, Any]](), 0, git_state()

    def soak(seconds: float, every_s: float) -> int:
        runs.append(one_run(len(runs), seconds, every_s, options.seed))
        sys.stdout.write(f"{json.dumps(runs[-1])}\n")
        sys.stdout.flush()
        return sum(runs[-1]["blows"].values())

    try:
        while dealt < options.blows or time.monotonic() - begun < 60 * options.minutes:
            dealt += soak(options.run_s, options.every_s)
        soak(options.calm_s, 0.0)
    except DualsysError as error:
        parser.exit(2, f"soak: {error}\n")
    found = {"minutes": round((time.monotonic() - begun) / 60, 1), **summed_up(runs)}
    sys.stdout.write(f"{json.dumps(found)}\n")
    report = {**found, "each": runs, "versions": versions(), "git": git, "machine": machine()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1))
    grown = max(found["memory_growth"].values()) > GROWS_AT_MOST
    sys.exit(1 if grown or any(found[name] > 0 for name in WRONG) else 0)


if __name__ == "__main__":
    main()
