"""A viewer beside a realtime run: a process of its own that reads the log. Who is missing it?

Nobody: it is in no process table, on no socket of the run, and its end ends nothing.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from dualsys.errors import DualsysError
from dualsys.workers import end_with_parent

LAST_LOOK_S = 10.0  # to show what was written last


def require_rerun() -> None:
    """Raise `DualsysError` where the library is missing."""
    if importlib.util.find_spec("rerun") is None:
        raise DualsysError("a view needs Rerun; pip install 'dualsys[view]'")


def _in_the_background(taken: Collection[int]) -> None:
    """It gets what the run leaves of the processors, and ends with who began it."""
    end_with_parent()
    if hasattr(os, "SCHED_IDLE"):  # Linux
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        # Even who gives way at once leaves the caches of a core cold.
        os.sched_setaffinity(0, os.sched_getaffinity(0) - set(taken) or os.sched_getaffinity(0))


@contextmanager
def viewed(
    how: str, out: Path, taken: Collection[int] = ()
) -> Iterator[subprocess.Popen[bytes] | None]:
    """While it lasts what is recorded in `out` is shown; `how` "" for not at all.

    `taken` are cores that the run has for itself.
    """
    if not how:
        yield None
        return
    require_rerun()
    words = [f"log={out / 'log.mcap'}", "follow=true"]
    words += [f"save={out / 'view.rrd'}"] if how == "file" else [f"how={how}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "dualsys", "view", *words],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: _in_the_background(taken),
    )
    try:
        yield process
    finally:
        try:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(LAST_LOOK_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            process.kill()
            process.wait()
