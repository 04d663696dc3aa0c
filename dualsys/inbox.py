"""Newest-value inbox: keeps the newest message that belongs here, counts what it drops and why."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from dualsys.messages import Message

M = TypeVar("M", bound=Message)

ALIVE_PERIODS = 10  # a sender is alive while its newest message is younger than this many periods
RATE_WINDOW = 64  # messages over which the rate is estimated


class Inbox(Generic[M]):
    """Pure: arrival times come in as arguments.

    A message of another session or epoch, and one that is not newer (by sequence) than what is
    here, is dropped and counted by reason in `drops`; so is one for whose content `fault` names a
    reason.
    """

    def __init__(
        self, session: int, epoch: int, fault: Callable[[M], str | None] = lambda message: None
    ) -> None:
        self._fault = fault
        self.session, self.epoch = session, epoch
        self.newest: M | None = None
        self.drops: dict[str, int] = {}
        self._arrivals: deque[int] = deque(maxlen=RATE_WINDOW)

    def reset(self, epoch: int) -> None:
        """Start the episode `epoch`: what belongs to another one is dropped from now on."""
        self.epoch = epoch
        self.newest = None
        self._arrivals.clear()

    def offer(self, message: M, now_ns: int) -> bool:
        """Take `message` if it belongs here and is newer; else count why and return False."""
        reason = self._refusal(message)
        if reason is not None:
            self.drops[reason] = self.drops.get(reason, 0) + 1
            return False
        self.newest = message
        self._arrivals.append(now_ns)
        return True

    def _refusal(self, message: M) -> str | None:
        stamp = message.stamp
        if stamp.session != self.session:
            return "session"
        if stamp.epoch != self.epoch:
            return "epoch"
        if self.newest is None or stamp.sequence > self.newest.stamp.sequence:
            return self._fault(message)
        return "duplicate" if stamp.sequence == self.newest.stamp.sequence else "stale"

    def age_ns(self, now_ns: int) -> int | None:
        """Time since the newest message arrived [ns]; None without one."""
        return now_ns - self._arrivals[-1] if self._arrivals else None

    def alive(self, now_ns: int, period_ns: int) -> bool:
        """True while messages that should come every `period_ns` do come."""
        age = self.age_ns(now_ns)
        return age is not None and age < ALIVE_PERIODS * period_ns

    def rate_hz(self) -> float:
        """Mean arrival rate over the last messages [1/s]; 0 with fewer than two."""
        if len(self._arrivals) < 2:
            return 0.0
        span = self._arrivals[-1] - self._arrivals[0]
        return (len(self._arrivals) - 1) * 1e9 / span if span > 0 else 0.0
