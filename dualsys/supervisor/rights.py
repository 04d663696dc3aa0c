"""What a process asks of the system so as to be on time, and what it really got."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from pathlib import Path

from dualsys.supervisor.table import ProcessRow

_MCL_CURRENT, _MCL_FUTURE = 1, 2
GRANTED = "in force"


def claim(row: ProcessRow) -> dict[str, str]:
    """Ask for what the row wants; by name "in force", or why it is not. Nothing asked: empty.

    Each is looked up again after it was asked for: a call that returned is no proof.
    """
    if sys.platform != "linux":
        wanted = {"cores": row.cores, "priority": row.priority, "lock_memory": row.lock_memory}
        return {name: f"not on {sys.platform}" for name, value in wanted.items() if value}
    got: dict[str, str] = {}
    if row.cores:
        got["cores"] = _pin(row.cores)
    if row.priority:
        got["priority"] = _first_come_first_served(row.priority)
    if row.lock_memory:
        got["lock_memory"] = _lock()
    return got


def freeze(row: ProcessRow) -> dict[str, str]:
    """Once loaded: keep the garbage collector from what lives already, if the row wants it."""
    if not row.freeze_gc:
        return {}
    gc.collect()
    gc.freeze()
    return {"freeze_gc": GRANTED if gc.get_freeze_count() else "nothing was frozen"}


def _pin(cores: tuple[int, ...]) -> str:
    try:
        os.sched_setaffinity(0, cores)
    except OSError as error:
        return f"{error.strerror}; this machine has the cores {sorted(os.sched_getaffinity(0))}"
    return GRANTED if os.sched_getaffinity(0) == set(cores) else "the system chose others"


def _first_come_first_served(priority: int) -> str:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError as error:
        return f"{error.strerror}; give CAP_SYS_NICE or raise RLIMIT_RTPRIO"
    return GRANTED if os.sched_getscheduler(0) == os.SCHED_FIFO else "the system refused in silence"


def _lock() -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE) != 0:
        return f"{os.strerror(ctypes.get_errno())}; give CAP_IPC_LOCK or raise RLIMIT_MEMLOCK"
    lines = Path("/proc/self/status").read_text().splitlines()
    locked = next(int(line.split()[1]) for line in lines if line.startswith("VmLck"))
    return GRANTED if locked else "no page is locked"
