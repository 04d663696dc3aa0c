"""What is to be done about one process: start it, kill it, or give it up. Pure: time comes in."""

from __future__ import annotations

import signal
from collections import deque
from typing import Literal

from dualsys.supervisor.table import ProcessRow, SupervisorConfig

Order = Literal["start", "kill"]
REFUSED = 2  # the exit code of an error that another start would only repeat


class Keeper:
    """Told what happens to a process; `decide` says what to do about it."""

    def __init__(self, name: str, row: ProcessRow, config: SupervisorConfig) -> None:
        self._name, self._row, self._config = name, row, config
        self._restarts: deque[int] = deque()  # when, within the window [ns]
        self._wanted, self._running, self._killed = True, False, False
        self._started_ns = 0
        self._beat_ns: int | None = None
        self._why = ""
        self.restarts = 0
        self.latched: str | None = None  # why it was given up

    @property
    def alive(self) -> bool:
        """Whether it runs, and has given a sign of life since it was started."""
        return self._running and self._beat_ns is not None

    def started(self, now_ns: int) -> None:
        """It was started at `now_ns`."""
        self._wanted, self._running, self._killed = False, True, False
        self._started_ns, self._beat_ns = now_ns, None

    def beat(self, now_ns: int) -> None:
        """It gave a sign of life."""
        self._beat_ns = now_ns

    def pause(self, gap_ns: int) -> None:
        """Nobody could look for so long (a machine that slept): it does not count as silence."""
        self._started_ns += gap_ns
        if self._beat_ns is not None:
            self._beat_ns += gap_ns

    def ended(self, now_ns: int, code: int) -> None:
        """It ended with `code`, negative for a signal."""
        self._running = False
        if not self._killed:
            self._why = f"it ended with {told(code)}"
        if self._row.restart == "never" or (code == 0 and self._row.restart == "on-failure"):
            return
        if code == REFUSED:
            self.latched = f"{self._name} ended with an error of its own; its message stands above"
            return
        self._again(now_ns)

    def _again(self, now_ns: int) -> None:
        window_ns = self._config.window_s * 1e9
        while self._restarts and now_ns - self._restarts[0] > window_ns:
            self._restarts.popleft()
        if len(self._restarts) >= self._config.restarts:
            self.latched = (
                f"{self._name} was started {self._config.restarts + 1} times in "
                f"{self._config.window_s:g} s and is given up; the last time {self._why}"
            )
            return
        self._restarts.append(now_ns)
        self.restarts += 1
        self._wanted = True

    def decide(self, now_ns: int) -> Order | None:
        """What to do now, once; None: nothing."""
        if self._wanted:
            return "start"
        if self._running and not self._killed and self._hung(now_ns):
            self._killed = True
            return "kill"
        return None

    def _hung(self, now_ns: int) -> bool:
        config = self._config
        since, patience_s = self._beat_ns, config.heartbeat_s
        if since is None:
            since, patience_s = self._started_ns, config.loading_s
        self._why = f"it gave no sign of life for {patience_s:g} s"
        return now_ns - since > patience_s * 1e9


def told(code: int) -> str:
    """An exit code in words."""
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
