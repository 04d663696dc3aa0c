"""Proof of life: what a process counted and how long its stages took, once a second. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from dualsys.messages import Health, Stamp

PERIOD_NS = 1_000_000_000


class Pulse:
    """Gathers stage durations and says when the next `Health` is due."""

    def __init__(self, process: str, session: int, period_ns: int = PERIOD_NS) -> None:
        self._process, self._session, self._period_ns = process, session, period_ns
        self._due_ns: int | None = None
        self._sequence = 0
        self._timing: dict[str, list[int]] = defaultdict(list)

    def measured(self, stage: str, duration_ns: int) -> None:
        """Add one duration [ns] of a stage to the next report."""
        self._timing[stage].append(duration_ns)

    def beat(
        self, now_ns: int, counters: Mapping[str, int], epoch: int = 0, state: str = "running"
    ) -> Health | None:
        """Return the report when one is due at `now_ns` (the first one is due at once)."""
        if self._due_ns is not None and now_ns < self._due_ns:
            return None
        # After a stall the next one is due a whole period from now: late reports are not made up.
        self._due_ns = now_ns + self._period_ns
        self._sequence += 1
        stamp = Stamp(self._session, epoch, self._sequence, 0, now_ns)
        timing, self._timing = dict(self._timing), defaultdict(list)
        return Health(stamp, self._process, state, dict(counters), timing)
