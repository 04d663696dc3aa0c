"""Faults of a link: frames lost, held back, repeated, damaged, or of somebody else."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from dualsys.codec import decode, encode
from dualsys.faults.fault import LATE_S, Fault, Timetable


class FrameFaults:
    """One direction of a link, or what a recorder hears."""

    def __init__(
        self, faults: Sequence[Fault], place: str, since_s: Callable[[], float | None]
    ) -> None:
        self._table, self._since_s = Timetable(faults, place), since_s
        self._held: deque[tuple[float, bytes]] = deque()
        self._last: bytes | None = None
        self._passed_s = -LATE_S

    def passed(self, frames: list[bytes]) -> list[bytes]:
        """What comes out at the other end now, when `frames` have gone in."""
        now = self._since_s()
        kind = self._table.kind(now)
        if now is None or kind is None:
            return [*self._due(float("inf")), *self._noted(frames)]
        if kind in ("delayed", "slow"):
            self._held.extend((now + LATE_S, frame) for frame in frames)
            return self._slowly(now) if kind == "slow" else self._due(now)
        if kind == "stuck":
            return [] if self._last is None or not frames else [self._last]
        kept = [frame for frame in frames if not self._table.gone(now)]
        if kind == "garbage":
            rng = self._table.rng(now)
            return [rng.bytes(len(frame)) for frame in kept]
        return [_foreign(frame) for frame in kept] if kind == "wrong" else kept

    def _noted(self, frames: list[bytes]) -> list[bytes]:
        self._last = frames[-1] if frames else self._last
        return frames

    def _due(self, now: float) -> list[bytes]:
        ready: list[bytes] = []
        while self._held and self._held[0][0] <= now:
            ready.append(self._held.popleft()[1])
        return ready

    def _slowly(self, now: float) -> list[bytes]:
        """One frame a second."""
        if not self._held or now - self._passed_s < LATE_S:
            return []
        self._passed_s = now
        return [self._held.popleft()[1]]


def _foreign(frame: bytes) -> bytes:
    """The same message of another session."""
    message = decode(frame)
    stamp = msgspec.structs.replace(message.stamp, session=message.stamp.session ^ 1)
    return encode(msgspec.structs.replace(message, stamp=stamp))
