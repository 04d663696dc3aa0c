"""Recording to a disk that may be slow, full or gone: a bounded queue in front of a log in parts.

Whoever puts a frame never waits: what does not fit is dropped and counted. A writer thread empties
the queue, flushes twice a second, begins a new part when one is full or could not be written.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from dualsys.errors import DualsysError
from dualsys.runtime.log import LogWriter, next_part

WAIT_S = 0.02
RETRY_S = 0.5  # after the disk refused


class RecorderConfig(msgspec.Struct, frozen=True):
    """`queue_mb` wait for the disk at most; what is older than `flush_s` is in the file.

    A new part begins after `part_mb` or `part_s`; 0: never.
    """

    queue_mb: float
    flush_s: float
    part_mb: float
    part_s: float

    def check(self) -> None:
        """Raise `DualsysError` for a value out of range."""
        for name in ("queue_mb", "flush_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise DualsysError(
                    f"recorder.{name} must be a positive number, it is {getattr(self, name)}"
                )
        for name in ("part_mb", "part_s"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise DualsysError(
                    f"recorder.{name} must be zero or more, it is {getattr(self, name)}"
                )


Open = Callable[[Path, dict[str, Any]], LogWriter]


class Recording:
    """A log that is written by a thread of its own; `put` never waits.

    `counts`: what was "written", and what was dropped because of a "queue_full"; "disk" counts the
    times that the disk refused, after each of which a new part begins.
    """

    def __init__(
        self,
        path: Path,
        header: dict[str, Any],
        config: RecorderConfig,
        open_log: Open = LogWriter,
    ) -> None:
        config.check()
        self._path, self._header, self._config, self._open = path, header, config, open_log
        self._queue: deque[tuple[str, bytes, int]] = deque()
        self._waiting = 0  # bytes in the queue
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.counts: Counter[str] = Counter()
        self._log: LogWriter | None = None
        self._unsure: list[tuple[str, bytes, int]] = []  # written, and not flushed yet
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def put(self, topic: str, frame: bytes, time_ns: int) -> None:
        """Have a frame written, or drop it where too many wait."""
        with self._lock:
            if self._waiting + len(frame) > self._config.queue_mb * 1e6:
                self.counts["queue_full"] += 1
                return
            self._queue.append((topic, frame, time_ns))
            self._waiting += len(frame)

    def close(self, patience_s: float = 4.0) -> None:
        """Write what waits, as far as that can be done in the time, and finish the file."""
        self._over.set()
        self._thread.join(patience_s)
        if self._thread.is_alive():
            self.counts["left_behind"] = len(self._queue)

    def _work(self) -> None:
        flushed = begun = time.monotonic()
        while True:
            over = self._over.is_set()  # asked before the queue is emptied for the last time
            try:
                self._empty()
                now = time.monotonic()
                if self._log is not None and now - flushed >= self._config.flush_s:
                    self._log.flush()
                    self._unsure.clear()
                    flushed = now
                if self._log is not None and self._full(now - begun):
                    self._log.close()
                    self._log = None
                    self._unsure.clear()
                    begun = now
                if over:
                    if self._log is not None:
                        self._log.close()
                    return
            except OSError:
                self.counts["disk"] += 1
                self._give_up_part()
                begun = time.monotonic()
                if over:
                    return
                self._over.wait(RETRY_S)
            time.sleep(0 if over else WAIT_S)

    def _empty(self) -> None:
        while self._queue:
            if self._log is None:
                self._log = self._open(next_part(self._path), self._header)
            frame = self._queue[0]
            self._log.write_frame(*frame)
            self._unsure.append(frame)
            with self._lock:
                self._queue.popleft()
                self._waiting -= len(frame[1])
            self.counts["written"] += 1

    def _full(self, age_s: float) -> bool:
        assert self._log is not None
        config = self._config
        large = config.part_mb > 0 and self._log.size >= config.part_mb * 1e6
        return large or (config.part_s > 0 and age_s >= config.part_s)

    def _give_up_part(self) -> None:
        if self._log is not None:
            self._log.abandon()
            self._log = None
        # What the lost part may have held goes into the next one.
        with self._lock:
            self._queue.extendleft(reversed(self._unsure))
            self._waiting += sum(len(frame) for _, frame, _ in self._unsure)
        self.counts["written"] -= len(self._unsure)
        self._unsure.clear()
