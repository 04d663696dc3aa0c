"""Reads a log while it is being written: whoever looks on costs those who act nothing.

The recorder flushes every `recorder.flush_s`; what is there is read, what is half written is left
for the next time.
"""

from __future__ import annotations

from pathlib import Path

from mcap.records import Chunk, DataEnd
from mcap.records import Message as McapMessage
from mcap.stream_reader import StreamReader, breakup_chunk

from dualsys.codec import decode
from dualsys.messages import Message
from dualsys.runtime.log import MAX_RECORD, UNREADABLE, Bounded, parts_of


class LogTail:
    """A place in a log that moves on with it, from part to part."""

    def __init__(self, path: Path) -> None:
        self._path, self._part, self._begin = path, 0, 0

    def new(self) -> list[Message]:
        """All whole messages since the last call, in order; damaged ones are left out."""
        found: list[Message] = []
        while True:
            parts = parts_of(self._path)
            if self._part >= len(parts):
                return found
            ended = self._read(parts[self._part], found)
            if not ended and self._part + 1 == len(parts):
                return found
            # A part that has a successor gets no more: its recorder was killed, or went on.
            self._part, self._begin = self._part + 1, 0

    def _read(self, part: Path, found: list[Message]) -> bool:
        """Read on in a part; True if its end was reached."""
        with Bounded(part.open("rb", buffering=0)) as file:
            file.seek(self._begin)
            reader = StreamReader(file, self._begin > 0, True, record_size_limit=MAX_RECORD)
            records = iter(reader.records)
            while True:
                try:
                    record = next(records)
                    inside = breakup_chunk(record, True) if isinstance(record, Chunk) else [record]
                except (StopIteration, *UNREADABLE):
                    return False
                self._begin = file.tell()
                for inner in inside:
                    if isinstance(inner, McapMessage):
                        found.append(decode(inner.data))
                if isinstance(record, DataEnd):
                    return True
