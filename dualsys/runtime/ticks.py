"""The world's ticks on the wall clock: absolute deadlines, and which ticks were missed and why."""

from __future__ import annotations

from typing import Any

from dualsys.clock import MonotonicClock, RateKeeper, sleep_until
from dualsys.messages import Action


class Ticks:
    """Paces the world; counts ticks, skipped deadlines and commands from old observations."""

    def __init__(self, clock: MonotonicClock, period_ns: int) -> None:
        self._clock, self._period_ns = clock, period_ns
        self._begin = clock.now_ns()
        self._skipped: list[int] = []
        self._late: list[int] = []
        self._total = 0
        self.restart()

    def restart(self) -> None:
        """Start the grid anew (an episode's reset takes longer than a tick)."""
        self._keeper = RateKeeper(self._period_ns, self._clock.now_ns())

    def wait(self) -> int:
        """Sleep to the next deadline and return the time."""
        deadline, skipped = self._keeper.advance(self._clock.now_ns())
        self._skipped += [deadline] * skipped
        sleep_until(deadline, self._clock)
        self._total += 1
        return self._clock.now_ns()

    def judge(self, tick: int, action: Action | None) -> None:
        """A command is on time when its action answers the observation of the tick before."""
        if tick > 1 and (action is None or action.stamp.tick < tick - 1):
            self._late.append(self._clock.now_ns())

    def over(self, duration_s: float) -> bool:
        """True once the run has lasted `duration_s` (never for 0)."""
        return bool(duration_s) and self._clock.now_ns() - self._begin > duration_s * 1e9

    def report(self, stalls: list[tuple[int, int]]) -> dict[str, Any]:
        """Counts; `missed_outside_stalls` leaves out what a stall of the machine explains."""
        reach = 2 * self._period_ns

        def explained(time_ns: int) -> bool:
            return any(a - reach < time_ns < b + reach for a, b in stalls)

        missed = [*self._skipped, *self._late]
        return {
            "total": self._total,
            "skipped": len(self._skipped),
            "late": len(self._late),
            "missed": len(missed),
            "missed_outside_stalls": sum(not explained(t) for t in missed),
            "stalls": len(stalls),
            "longest_stall_ms": max((b - a for a, b in stalls), default=0) / 1e6,
            "stalled_ns": [list(span) for span in stalls],
            "missed_at_ns": [t for t in missed if not explained(t)],
        }
