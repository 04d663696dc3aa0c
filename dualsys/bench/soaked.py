"""What a run under blows left behind: records lost without excuse, memory that grew. Pure.

A blow to the recorder may cost what was not flushed yet, so a hole in the log may begin at most
`UNFLUSHED_S` before it; nothing else may be missing.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from statistics import median
from typing import Any

import msgspec

from dualsys.messages import Command

UNFLUSHED_S = 1.0  # what a killed recorder may take with it
ROOM_S = 1.0  # that a recorder needs, after it stood still, to take what waited
TAKES_RECORDS = ("recorder", "world", "disk")  # where a blow or a fault may cost records
EARLY, LATE = 0.3, 0.8  # growth is from this share of a run to that one, and the rest


class Blow(msgspec.Struct, frozen=True):
    """A process hit from outside: killed, or made to stand still for a while."""

    at_ns: int
    until_ns: int  # when it could go on; `at_ns` for a kill
    process: str
    how: str  # "kill" or "stop"


class Footprint(msgspec.Struct, frozen=True):
    """What a process held at a moment."""

    at_ns: int
    process: str
    pid: int
    resident_kb: int
    descriptors: int


def excuses(
    blows: Sequence[Blow], faults: Sequence[dict[str, Any]], first_ns: int
) -> list[tuple[int, int]]:
    """When a hole in the log may begin [ns]; a run's declared faults count from its first tick."""
    before, room = round(UNFLUSHED_S * 1e9), round(ROOM_S * 1e9)
    found = [
        (blow.at_ns - before, blow.until_ns + (0 if blow.how == "kill" else room))
        for blow in blows
        if blow.process in TAKES_RECORDS
    ]
    for fault in faults:
        if fault["place"] in TAKES_RECORDS:
            begin, end = (first_ns + round(fault[k] * 1e9) for k in ("begin_s", "end_s"))
            found.append((begin - before, end + room))
    return found


def first_tick_ns(commands: Sequence[Command], period_ns: int) -> int:
    """When a run's first tick was, which its log may have lost."""
    first = commands[0].stamp
    return first.time_ns - first.tick * period_ns if first.epoch == 0 else first.time_ns


def lost(commands: Sequence[Command], excused: Sequence[tuple[int, int]]) -> list[int]:
    """The ticks after which commands are missing, where nothing excuses it.

    `commands` are in order of epoch and tick.
    """
    found = []
    for one, two in itertools.pairwise(commands):
        hole = one.stamp.epoch == two.stamp.epoch and two.stamp.tick > one.stamp.tick + 1
        at = one.stamp.time_ns
        if hole and not any(begin <= at <= end for begin, end in excused):
            found.append(one.stamp.tick)
    return found


def growth(samples: Sequence[Footprint]) -> dict[str, dict[str, float]]:
    """How much more each process holds at the end of a run than when it had settled.

    Share of resident memory and number of descriptors, medians of many samples. A process that was
    started again in between is left out: it settles anew.
    """
    found = {}
    for name in sorted({sample.process for sample in samples}):
        own = sorted((s for s in samples if s.process == name), key=lambda s: s.at_ns)
        if len({s.pid for s in own}) > 1 or len(own) < 10:
            continue
        begin = own[0].at_ns
        whole = own[-1].at_ns - begin
        early = [s for s in own if EARLY <= (s.at_ns - begin) / whole <= (EARLY + LATE) / 2]
        late = [s for s in own if (s.at_ns - begin) / whole >= LATE]
        found[name] = {
            "memory": median(s.resident_kb for s in late) / median(s.resident_kb for s in early)
            - 1,
            "descriptors": median(s.descriptors for s in late)
            - median(s.descriptors for s in early),
        }
    return found
