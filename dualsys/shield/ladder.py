"""The staleness ladder: how much System 1 may do, by how well the two systems answer.

One table of rungs in conf/ladder, one state machine. Pure: time comes in as an argument.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from dualsys.errors import DualsysError

RUNGS = ("standby", "fresh", "ageing", "alone", "expired", "silent", "stopped")
CONDITIONS = ("limits", "schema", "warm-up")
Leave = Literal["full", "reduced", "fallback"]


class LadderConfig(msgspec.Struct, frozen=True):
    """When a rung is reached [s], and what System 1 may do on each.

    `engage_s`: for how long its signs of life must come, no two of them further apart than `gap_s`,
    before it may command; `ageing_s`: older guidance is ageing; `overdue_s`: guidance was asked for
    so long ago and none is in use; `stop_s`: System 1 is silent for so long. `rungs` gives each
    rung "full", "reduced" (the smaller box) or "fallback".
    """

    engage_s: float
    gap_s: float
    ageing_s: float
    overdue_s: float
    stop_s: float
    rungs: dict[str, str]

    def check(self) -> None:
        """Raise `DualsysError` for a time that is not positive and for a table that is not one."""
        for name in ("engage_s", "gap_s", "ageing_s", "overdue_s", "stop_s"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise DualsysError(f"ladder.{name} must be a positive number, it is {value}")
        if sorted(self.rungs) != sorted(RUNGS):
            raise DualsysError(
                f"ladder.rungs names {', '.join(self.rungs)}; the rungs are {', '.join(RUNGS)}"
            )
        for rung, leave in self.rungs.items():
            silent = rung in ("standby", "silent", "stopped")
            valid = ("fallback",) if silent else ("full", "reduced", "fallback")
            if leave not in valid:
                raise DualsysError(
                    f"ladder.rungs.{rung} is {leave!r}, it can be {' or '.join(valid)}"
                )


class Ladder:
    """On which rung the systems stand; `step` once per tick."""

    def __init__(self, config: LadderConfig) -> None:
        config.check()
        self._config = config
        self._met: set[str] = set()
        self._engaged, self._fallen = False, "standby"
        self._first_ns: int | None = None  # of the unbroken signs of life
        self._last_ns: int | None = None
        self._silent_ns: int | None = None  # since when System 1 is silent
        self.rung = "standby"

    def reset(self) -> None:
        """Start an episode: whether System 1 may command stays as it is."""
        self._silent_ns = None

    def meet(self, condition: str) -> None:
        """Note that one of `CONDITIONS` holds."""
        if condition not in CONDITIONS:
            raise ValueError(f"{condition!r} is no condition; there are {', '.join(CONDITIONS)}")
        self._met.add(condition)

    def missing(self) -> tuple[str, ...]:
        """What System 1 still lacks before it may command; () once it may."""
        if self._engaged:
            return ()
        unmet = tuple(condition for condition in CONDITIONS if condition not in self._met)
        return (*unmet, f"signs of life for {self._config.engage_s:g} s")

    def greet(self) -> None:
        """A System 1 says hello that was not there before: it has to engage."""
        self._engaged, self._fallen, self._last_ns = False, "standby", None

    def engage(self) -> None:
        """Let System 1 command at once: in virtual time both systems are ready when it begins."""
        self._engaged = True

    def alive(self, now_ns: int) -> None:
        """Note a sign of life of System 1 at `now_ns`."""
        config, last = self._config, self._last_ns
        if last is None or not 0 <= now_ns - last <= config.gap_s * 1e9:
            self._first_ns = now_ns
        self._last_ns = now_ns
        assert self._first_ns is not None
        lasted = now_ns - self._first_ns >= config.engage_s * 1e9
        if lasted and self._met.issuperset(CONDITIONS):
            self._engaged = True

    def step(
        self, now_ns: int, answers: bool, guidance_age_s: float | None, waiting_s: float | None
    ) -> Leave:
        """Say what System 1 may do in this tick; `rung` is where the systems stand.

        `answers`: it has a command that could be carried out; `guidance_age_s`: of the guidance in
        use, None without one; `waiting_s`: since guidance was asked for, None if none is owed.
        """
        if answers:
            self._silent_ns = None
            self.alive(now_ns)
        elif self._silent_ns is None:
            self._silent_ns = now_ns
        self.rung = self._stand(now_ns, guidance_age_s, waiting_s)
        leave: Leave = self._config.rungs[self.rung]  # type: ignore[assignment]  # checked
        return leave

    def _stand(self, now_ns: int, age_s: float | None, waiting_s: float | None) -> str:
        config, silent_ns = self._config, self._silent_ns
        if silent_ns is not None and self._engaged:
            if now_ns - silent_ns < config.stop_s * 1e9:
                return "silent"
            self._engaged, self._fallen, self._last_ns = False, "stopped", None
        if not self._engaged:
            return self._fallen
        if age_s is not None:
            return "fresh" if age_s <= config.ageing_s else "ageing"
        overdue = waiting_s is not None and waiting_s >= config.overdue_s
        return "expired" if overdue else "alone"
