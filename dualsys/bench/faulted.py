"""The matrix of faults: every place and kind in realtime runs, and what came of each.

One run per place, its seven kinds one after the other with time to recover between them. What is
judged is read off the log: a safe command in every tick, the rung of the ladder, the counters, and
whether all is well again before the next fault.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dualsys.config import load
from dualsys.faults.fault import KINDS, PLACES
from dualsys.faults.processes import PROCESSES
from dualsys.limits import PlantLimits
from dualsys.messages import Command, Health, Message
from dualsys.runtime.log import Damage, read_log
from dualsys.spec import WorldSpec

FIRST_S, LASTS_S = 2.0, 2.0  # when the first fault begins, and how long each lasts
SETTLED_S = 1.0  # of good ticks in a row, before the next fault, that count as recovered
SLACK = 1e-4  # of rounding, in units of a command

# What is to be seen of each: a rung that is reached, and a counter that moves; "" where the fault
# can not be told from the truth, or costs nothing. Counters are of a process's health, of the run,
# or of its log.
EXPECTED: dict[tuple[str, str], tuple[str, str]] = {
    ("camera", "off"): ("silent", "system1 observation_unfit"),
    ("camera", "stuck"): ("silent", "system1 observation_camera_stale"),
    ("camera", "garbage"): ("silent", "system1 observation_unfit"),
    ("camera", "wrong"): ("", ""),
    ("camera", "slow"): ("silent", "system1 observation_camera_stale"),
    ("camera", "delayed"): ("silent", "system1 observation_camera_stale"),
    ("camera", "intermittent"): ("", "system1 observation_unfit"),
    ("state", "off"): ("silent", "world shield_state_unknown"),
    ("state", "stuck"): ("silent", "world shield_state_stuck"),
    ("state", "garbage"): ("silent", "world shield_state_unknown"),
    ("state", "wrong"): ("", ""),
    ("state", "slow"): ("", "world shield_state_stuck"),
    ("state", "delayed"): ("", ""),
    ("state", "intermittent"): ("", "world shield_state_unknown"),
    ("system1", "off"): ("silent", "run restarts"),
    ("system1", "stuck"): ("silent", "world shield_stale_action"),
    ("system1", "garbage"): ("silent", "world shield_not_finite"),
    ("system1", "wrong"): ("", "world shield_rate_limit"),
    ("system1", "slow"): ("silent", "world shield_stale_action"),
    ("system1", "delayed"): ("silent", "world shield_stale_action"),
    ("system1", "intermittent"): ("", ""),
    ("system2", "off"): ("ageing", "run restarts"),  # a planner that loads at once
    ("system2", "stuck"): ("expired", ""),
    ("system2", "garbage"): ("expired", "system1 guidance_not_finite"),
    ("system2", "wrong"): ("", ""),
    ("system2", "slow"): ("ageing", ""),
    ("system2", "delayed"): ("ageing", ""),
    ("system2", "intermittent"): ("", ""),
    ("link", "off"): ("expired", "system1 request_superseded"),
    ("link", "stuck"): ("expired", "system1 request_superseded"),
    ("link", "garbage"): ("expired", "system2 server_undecodable"),
    ("link", "wrong"): ("expired", "system2 server_session"),
    ("link", "slow"): ("ageing", ""),
    ("link", "delayed"): ("ageing", ""),
    ("link", "intermittent"): ("", ""),
    ("recorder", "off"): ("", "run restarts"),
    ("recorder", "stuck"): ("", ""),
    ("recorder", "garbage"): ("", "recorder undecodable"),
    ("recorder", "wrong"): ("", "recorder session"),
    ("recorder", "slow"): ("", ""),
    ("recorder", "delayed"): ("", ""),
    ("recorder", "intermittent"): ("", "recorder missing"),
    ("disk", "off"): ("", "recorder disk"),
    ("disk", "stuck"): ("", ""),
    ("disk", "garbage"): ("", "log damaged"),
    ("disk", "wrong"): ("", "log damaged"),
    ("disk", "slow"): ("", ""),
    ("disk", "delayed"): ("", ""),
    ("disk", "intermittent"): ("", "recorder disk"),
}
APART_S = 5.0  # from one fault to the next
AGAIN_S = 14.0  # after a process that has to be started again


class Cell(msgspec.Struct, frozen=True):
    """What came of one fault."""

    place: str
    kind: str
    ticks: int  # that are in the log while it lasted
    unsafe: int  # commands not finite, outside the box, or further from the last than its rate
    holes: int  # ticks without a command
    late: int  # ticks that System 1 missed, but for stalls of the machine
    rungs: dict[str, int]
    counted: int  # by the counter that is to move
    recovered: bool

    @property
    def amiss(self) -> tuple[str, ...]:
        """What is not as it should be, in words; () when all is."""
        rung, counter = EXPECTED[self.place, self.kind]
        watched = self.place not in ("recorder", "disk")  # else there are holes in the log itself
        checks = {
            "no command was recorded": self.ticks == 0 and watched,
            f"{self.unsafe} unsafe commands": self.unsafe > 0,
            f"{self.holes} ticks without a command": self.holes > 0 and watched,
            f"{self.late} ticks missed": self.late > 0 and self.place != "system1",
            f"never {rung}": bool(rung) and rung not in self.rungs,
            f"{counter} did not move": bool(counter) and self.counted == 0,
            "no recovery": not self.recovered,
        }
        return tuple(words for words, true in checks.items() if true)


def schedule(place: str, kinds: Sequence[str] = KINDS) -> list[dict[str, Any]]:
    """The faults of a run: every kind at one place, one after the other."""
    faults, begin = [], FIRST_S
    for kind in kinds:
        faults.append({"place": place, "kind": kind, "begin_s": begin, "end_s": begin + LASTS_S})
        begin += AGAIN_S if kind == "off" and place in PROCESSES else APART_S
    return faults


def configuration(place: str, out: Path, words: Sequence[str] = ()) -> dict[str, Any]:
    """A run with every fault of a place; short patience, so that every rung can be reached."""
    faults = schedule(place)
    duration = faults[-1]["begin_s"] + APART_S
    rows = ",".join("{" + ",".join(f"{k}: {v}" for k, v in row.items()) + "}" for row in faults)
    patience = ["shield.max_observation_age_s=0.3", "system1.max_guidance_age_s=0.6"]
    patience += ["ladder.ageing_s=0.3", "ladder.overdue_s=0.5", "trigger.period_s=0.2"]
    run = ["runtime=realtime", "system2=scripted", "trigger=periodic", f"out={out}"]
    run += [f"runtime.duration_s={duration}", f"faults.declared=[{rows}]"]
    return load("eval", ["scenario=driving/highway", *run, *patience, *words])


def judge(config: dict[str, Any], results: dict[str, Any], spec: WorldSpec) -> list[Cell]:
    """One cell per fault that the run declared."""
    damage = Damage()
    log = [message for _, message in read_log(Path(config["out"]) / "log.mcap", damage)]
    evidence = Evidence(log, spec, results, damage)
    faults = config["faults"]["declared"]
    ends = [fault["begin_s"] for fault in faults[1:]] + [config["runtime"]["duration_s"]]
    return [evidence.cell(fault, end) for fault, end in zip(faults, ends, strict=True)]


class Evidence:
    """A run's log, by seconds since its first tick."""

    def __init__(
        self, log: list[Message], spec: WorldSpec, results: dict[str, Any], damage: Damage
    ) -> None:
        self._commands = sorted(
            (m for m in log if isinstance(m, Command)), key=lambda m: (m.stamp.epoch, m.stamp.tick)
        )
        self._begin_ns = self._commands[0].stamp.time_ns
        self._unsafe = set(unsafe(self._commands, spec))
        self._holes = [
            self._since(after)
            for before, after in pairwise(self._commands)
            if before.stamp.epoch == after.stamp.epoch
            for _ in range(after.stamp.tick - before.stamp.tick - 1)
        ]
        self._late = [(t - self._begin_ns) / 1e9 for t in results["ticks"]["missed_at_ns"]]
        self._results, self._damage = results, damage
        self._counters: dict[str, list[tuple[float, dict[str, int]]]] = defaultdict(list)
        for message in log:
            if isinstance(message, Health):
                at = self._since(message)
                self._counters[message.process].append((at, message.counters))

    def _since(self, message: Message) -> float:
        return (message.stamp.time_ns - self._begin_ns) / 1e9

    def cell(self, fault: dict[str, Any], next_s: float) -> Cell:
        """What came of a fault, up to the next one."""
        place, kind, begin, end = (fault[k] for k in ("place", "kind", "begin_s", "end_s"))
        during = [i for i, m in enumerate(self._commands) if begin <= self._since(m) < end]
        felt = [m for m in self._commands if begin <= self._since(m) < end + 1]
        after = [m for m in self._commands if end <= self._since(m) < next_s]
        return Cell(
            place=place,
            kind=kind,
            ticks=len(during),
            unsafe=sum(i in self._unsafe for i in during),
            holes=sum(begin <= at < end for at in self._holes),
            late=sum(begin <= at < end for at in self._late),
            rungs=dict(Counter(m.rung for m in felt)),
            counted=self._counted(EXPECTED[place, kind][1], place, begin, next_s),
            recovered=self._settled(after),
        )

    def _settled(self, commands: Sequence[Command]) -> bool:
        """Whether System 1 drove for `SETTLED_S` in a row.

        An episode's first ticks have no action yet and are passed over.
        """
        since: float | None = None
        for at, command in ((self._since(m), m) for m in commands if m.stamp.tick > 2):
            if command.source != "system1":
                since = None
            elif since is None:
                since = at
            elif at - since >= SETTLED_S:
                return True
        return False

    def _counted(self, counter: str, place: str, begin: float, next_s: float) -> int:
        process, _, name = counter.partition(" ")
        if counter == "run restarts":
            return int(self._results["processes"][place]["restarts"])
        if counter == "log damaged":
            return self._damage.chunks + self._damage.cut_off
        told = self._counters.get(process, [])
        before = [counts.get(name, 0) for at, counts in told if at < begin]
        after = [counts.get(name, 0) for at, counts in told if begin <= at < next_s]
        # A process that was started again counts from nothing.
        return max(0, max(after, default=0) - max(before, default=0)) if after else 0


def unsafe(commands: Sequence[Command], spec: WorldSpec) -> list[int]:
    """Which commands are not finite, outside the box, or changed faster than their rate."""
    limits = spec.limits or PlantLimits(axes=())
    rates = [axis.rate for axis in limits.axes] or [None] * len(spec.action)
    steps = np.array([np.inf if r is None else r / spec.control_rate_hz for r in rates]) + SLACK
    found: list[int] = []
    last: Command | None = None
    for index, message in enumerate(commands):
        sent, stamp = message.command.astype(float), message.stamp
        inside = (sent >= spec.action_low - SLACK) & (sent <= spec.action_high + SLACK)
        jumped = False
        if last is not None and last.stamp.epoch == stamp.epoch:
            follows = last.stamp.tick == stamp.tick - 1
            jumped = follows and bool(np.any(np.abs(sent - last.command) > steps))
        if not (np.isfinite(sent).all() and inside.all()) or jumped:
            found.append(index)
        last = message
    return found


def run_place(place: str, out: Path, words: Sequence[str] = ()) -> list[Cell]:
    """Run all faults of a place and judge them."""
    from dualsys.runtime.realtime import realtime
    from sim import registry

    config = configuration(place, out, words)
    results = realtime(config, config["scenario"], list(range(1000)))
    return judge(config, results, registry.spec_of(config["scenario"]))


def matrix(out: Path) -> list[Cell]:
    """Every place, one run after the other."""
    return [cell for place in PLACES for cell in run_place(place, out / place)]
