"""Faults of the disk that a log is written to."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dualsys.faults.fault import Fault, Timetable
from dualsys.runtime.log import LogWriter

SLOW_WRITE_S = 0.05


class FaultyFile:
    """A file object whose writes go wrong while a fault is in force."""

    def __init__(self, file: Any, table: Timetable, since_s: Callable[[], float | None]) -> None:
        self._file, self._table, self._since_s = file, table, since_s
        self._kept: list[bytes] = []  # of a disk that is delayed
        self._length = 0
        self.closed = False

    def write(self, data: Any) -> int:
        """Write as the disk does just now."""
        data = bytes(data)
        now = self._since_s()
        kind = self._table.kind(now)
        if self._table.gone(now):
            number = errno.ENOSPC if kind == "off" else errno.EIO
            raise OSError(number, os.strerror(number))
        while kind == "stuck" and self._table.kind(self._since_s()) == "stuck":
            time.sleep(0.01)
        if kind == "slow":
            time.sleep(SLOW_WRITE_S)
        self._length += len(data)
        if kind == "delayed":
            self._kept.append(data)
            return len(data)
        self._catch_up()
        self._file.write(self._changed(data, kind, now))
        return len(data)

    def _changed(self, data: bytes, kind: str | None, now: float | None) -> bytes:
        if kind == "garbage":
            return self._table.rng(now).bytes(len(data))
        return data[: len(data) // 2] if kind == "wrong" else data

    def _catch_up(self) -> None:
        for data in self._kept:
            self._file.write(data)
        self._kept.clear()

    def flush(self) -> None:
        """Flush what the disk has taken."""
        self._file.flush()

    def tell(self) -> int:
        """Bytes that were written, as the writer sees it."""
        return self._length

    def close(self) -> None:
        """Write what was kept, and close."""
        self.closed = True
        self._catch_up()
        self._file.close()


def faulty_log(
    faults: Sequence[Fault], since_s: Callable[[], float | None]
) -> Callable[[Path, dict[str, Any]], LogWriter]:
    """How a log is opened on a disk with these faults."""
    table = Timetable(faults, "disk")

    def opened(path: Path, header: dict[str, Any]) -> LogWriter:
        return LogWriter(path, header, lambda file: FaultyFile(file, table, since_s))

    return opened
