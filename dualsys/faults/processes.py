"""Faults that are done to a process: it is killed, or it stands still. Pure."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from dualsys.faults.fault import Fault

PROCESSES = ("system1", "system2", "recorder")


class ProcessFaults:
    """Which signals are due to which process, each once."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._due: list[tuple[float, str, signal.Signals]] = []
        for fault in faults:
            if fault.place in PROCESSES and fault.kind == "off":
                self._due.append((fault.begin_s, fault.place, signal.SIGKILL))
            elif fault.place in PROCESSES and fault.kind == "stuck":
                self._due.append((fault.begin_s, fault.place, signal.SIGSTOP))
                self._due.append((fault.end_s, fault.place, signal.SIGCONT))

    def due(self, since_s: float | None) -> list[tuple[str, signal.Signals]]:
        """The signals that are due by now, in order."""
        if since_s is None:
            return []
        now = sorted(order for order in self._due if order[0] <= since_s)
        self._due = [order for order in self._due if order[0] > since_s]
        return [(name, number) for _, name, number in now]
