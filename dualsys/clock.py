"""Clocks and pacing. Decisions take time as an argument; only shells hold a `Clock`."""

from __future__ import annotations

import threading
import time
from typing import Protocol

SPIN_NS = 200_000  # the last stretch before a deadline is spun, not slept


class Clock(Protocol):
    """A monotonic clock in integer nanoseconds."""

    def now_ns(self) -> int:
        """Nanoseconds since an arbitrary origin; never goes back."""
        ...


class MonotonicClock:
    """The machine's monotonic clock; equal for all processes of one machine."""

    def now_ns(self) -> int:
        """Read CLOCK_MONOTONIC."""
        return time.monotonic_ns()


class VirtualClock:
    """A clock that stands still until it is set; for tests and lockstep."""

    def __init__(self, now_ns: int = 0) -> None:
        self._now_ns = now_ns

    def now_ns(self) -> int:
        """Return the virtual time."""
        return self._now_ns

    def advance_to(self, now_ns: int) -> None:
        """Move to `now_ns`. Raises `ValueError` for a time in the past."""
        if now_ns < self._now_ns:
            raise ValueError(f"time can not go back from {self._now_ns} ns to {now_ns} ns")
        self._now_ns = now_ns


class RateKeeper:
    """Absolute deadlines at `start + n * period`: lateness never accumulates.

    A deadline that has passed by more than a period is skipped and counted, not caught up with.
    """

    def __init__(self, period_ns: int, start_ns: int) -> None:
        if period_ns <= 0:
            raise ValueError(f"the period must be positive, it is {period_ns} ns")
        self.period_ns = period_ns
        self.skipped = 0
        self._next = start_ns

    def advance(self, now_ns: int) -> tuple[int, int]:
        """Return (the next deadline [ns], how many deadlines were skipped to reach it)."""
        self._next += self.period_ns
        late = now_ns - self._next
        skipped = max(0, late // self.period_ns)
        self._next += skipped * self.period_ns
        self.skipped += skipped
        return self._next, skipped


def sleep_until(deadline_ns: int, clock: Clock) -> None:
    """Sleep, then spin the last 200 us, until `clock` reads `deadline_ns`."""
    while (left := deadline_ns - clock.now_ns()) > 0:
        if left > SPIN_NS:
            time.sleep((left - SPIN_NS) / 1e9)


class StallDetector:
    """A thread that only sleeps: a gap in its wake-ups is the machine's, not the program's.

    `intervals` holds (from, to) [ns] of every gap longer than `threshold_ns`.
    """

    def __init__(
        self, clock: Clock, period_ns: int = 1_000_000, threshold_ns: int = 5_000_000
    ) -> None:
        self.intervals: list[tuple[int, int]] = []
        self._clock, self._period_ns, self._threshold_ns = clock, period_ns, threshold_ns
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stall-detector", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> list[tuple[int, int]]:
        """End the thread and return the gaps."""
        self._stop.set()
        self._thread.join()
        return self.intervals

    def _watch(self) -> None:
        last = self._clock.now_ns()
        while not self._stop.wait(self._period_ns / 1e9):
            now = self._clock.now_ns()
            self.observe(last, now)
            last = now

    def observe(self, last_ns: int, now_ns: int) -> None:
        """Judge the gap between two wake-ups."""
        if now_ns - last_ns > self._threshold_ns:
            self.intervals.append((last_ns, now_ns))

    def overlaps(self, start_ns: int, end_ns: int) -> bool:
        """True when the machine stood still at some time between the two."""
        return any(a < end_ns and start_ns < b for a, b in self.intervals)
