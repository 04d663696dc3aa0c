"""The faults that a run declares. Pure: time is since the run's first tick."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dualsys.clock import Clock
from dualsys.errors import DualsysError, UnknownNameError

PLACES = ("camera", "state", "system1", "system2", "link", "recorder", "disk")
KINDS = ("off", "stuck", "garbage", "wrong", "slow", "delayed", "intermittent")
BEGUN = "begun"  # the file in a run's folder that says when its first tick was
LATE_S = 1.0  # what is slow or delayed comes so late
SHARE = 0.5  # of what is intermittent is there


class Fault(msgspec.Struct, frozen=True):
    """One fault: from `begin_s` to `end_s` after the first tick, drawn from `seed`.

    off: gone; stuck: the last value for ever; garbage: what can not be true; wrong: what could be,
    and is not; slow: a second for each; delayed: a second late; intermittent: every other one gone.
    """

    place: str
    kind: str
    begin_s: float
    end_s: float
    seed: int = 0

    def check(self) -> None:
        """Raise `DualsysError` for a place, kind or time that there is not."""
        if self.place not in PLACES:
            raise UnknownNameError("place of a fault", self.place, PLACES)
        if self.kind not in KINDS:
            raise UnknownNameError("kind of fault", self.kind, KINDS)
        if not 0 <= self.begin_s < self.end_s < math.inf:
            raise DualsysError(
                f"the fault {self.place}/{self.kind} lasts from {self.begin_s} to {self.end_s} s; "
                "give begin_s from 0 on, and an end_s after it"
            )

    def active(self, since_s: float | None) -> bool:
        """Whether it is in force; before the first tick (None) none is."""
        return since_s is not None and self.begin_s <= since_s < self.end_s

    def rng(self) -> np.random.Generator:
        """What is drawn at random in it."""
        return np.random.default_rng((self.seed, PLACES.index(self.place), KINDS.index(self.kind)))


def declared(config: dict[str, Any]) -> tuple[Fault, ...]:
    """The faults of a run's configuration, checked. Raises `DualsysError`."""
    faults = tuple(
        msgspec.convert(row, Fault, strict=False) for row in config["faults"]["declared"]
    )
    for fault in faults:
        fault.check()
    return faults


class Timetable:
    """The faults of one place, and which of them is in force."""

    def __init__(self, faults: Sequence[Fault], place: str) -> None:
        self._faults = [fault for fault in faults if fault.place == place]
        self._rngs = [fault.rng() for fault in self._faults]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._faults)

    def kind(self, since_s: float | None) -> str | None:
        """The kind in force; None: all is well. Of several the first declared counts."""
        now = self._now(since_s)
        return None if now is None else self._faults[now].kind

    def rng(self, since_s: float | None) -> np.random.Generator:
        """The random numbers of the fault in force."""
        now = self._now(since_s)
        assert now is not None
        return self._rngs[now]

    def gone(self, since_s: float | None) -> bool:
        """Whether what comes now is lost: always while off, now and then while intermittent."""
        kind = self.kind(since_s)
        return kind == "off" or (
            kind == "intermittent" and bool(self.rng(since_s).random() >= SHARE)
        )

    def _now(self, since_s: float | None) -> int | None:
        active = (i for i, fault in enumerate(self._faults) if fault.active(since_s))
        return next(active, None)


class FaultClock:
    """Seconds since a run's first tick, in every process of it."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._path, self._clock = folder / BEGUN, clock
        self._begin_ns: int | None = None

    def tick(self, now_ns: int) -> None:
        """A tick is at `now_ns`; from the first one on time is counted."""
        if self._begin_ns is not None:
            return
        self._begin_ns = now_ns
        partial = self._path.with_suffix(".partial")
        partial.write_text(str(self._begin_ns))
        partial.replace(self._path)

    def since_s(self) -> float | None:
        """Seconds since the first tick, None before it."""
        if self._begin_ns is None:
            if not self._path.is_file():
                return None
            self._begin_ns = int(self._path.read_text())
        return (self._clock.now_ns() - self._begin_ns) / 1e9
