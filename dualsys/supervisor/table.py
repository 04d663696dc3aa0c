"""The table of a run's processes: what is started, when it is started again, with which rights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from dualsys.errors import DualsysError

RESTART = ("never", "on-failure", "always")
RUN_IF = ("always", "planner")
WORLD = "world"  # the process whose end is the end of the run


class ProcessRow(msgspec.Struct, frozen=True):
    """One process.

    `command`: words to start, {folder} in them for the run's folder, the word {parent} for the
    number of its process; none: the node of this name.
    `run_if`: "always", or "planner" where a System 2 is to run on this machine. `cores`: where it
    may run; none: anywhere. `priority`: SCHED_FIFO, 1 to 99; 0: the ordinary scheduler.
    `lock_memory`: no page is swapped out; `freeze_gc`: what lives after loading is never looked at
    by the garbage collector.
    """

    command: tuple[str, ...] = ()
    run_if: str = "always"
    restart: str = "always"
    cores: tuple[int, ...] = ()
    priority: int = 0
    lock_memory: bool = False
    freeze_gc: bool = False


class SupervisorConfig(msgspec.Struct, frozen=True):
    """The table, and the patience with it [s].

    `restarts` in `window_s` are allowed, then a process is given up with a reason; `heartbeat_s`
    without a sign of life is a hang, `loading_s` until the first one; `stop_s` between being asked
    to end and being killed.
    """

    restarts: int
    window_s: float
    heartbeat_s: float
    loading_s: float
    stop_s: float
    processes: dict[str, ProcessRow]

    def check(self) -> None:
        """Raise `DualsysError` for a value that makes no sense, by name."""
        for name in ("window_s", "heartbeat_s", "loading_s", "stop_s"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise DualsysError(f"supervisor.{name} must be a positive number, it is {value}")
        if self.restarts < 0:
            raise DualsysError(f"supervisor.restarts can not be negative, it is {self.restarts}")
        if WORLD not in self.processes:
            raise DualsysError(
                f"supervisor.processes needs {WORLD!r}, it has {', '.join(self.processes)}"
            )
        for name, row in self.processes.items():
            _check_row(f"supervisor.processes.{name}", row)

    def wanted(self, planner: bool) -> dict[str, ProcessRow]:
        """The processes of a run, in the order in which they start."""
        rows = self.processes.items()
        return {name: row for name, row in rows if row.run_if == "always" or planner}


def _check_row(where: str, row: ProcessRow) -> None:
    for key, value, valid in (
        ("restart", row.restart, RESTART),
        ("run_if", row.run_if, RUN_IF),
    ):
        if value not in valid:
            raise DualsysError(f"{where}.{key} is {value!r}, it can be {', '.join(valid)}")
    if not 0 <= row.priority <= 99:
        raise DualsysError(f"{where}.priority is {row.priority}, it can be 0 to 99")
    if any(core < 0 for core in row.cores):
        raise DualsysError(f"{where}.cores are {list(row.cores)}, cores are counted from 0")


def of_config(config: Mapping[str, Any]) -> SupervisorConfig:
    """The table of a run's configuration. Raises `DualsysError`."""
    table = msgspec.convert(config, SupervisorConfig, strict=False)
    table.check()
    return table
