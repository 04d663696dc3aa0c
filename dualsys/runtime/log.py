"""The log of record: every message verbatim in an MCAP file, and reading it back.

Each channel is one topic; the bytes of a record are the frame as it was sent. In lockstep the file
is byte-equal for equal seeds and configuration: it holds virtual time only and no machine's name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer

from dualsys.codec import decode, encode
from dualsys.errors import DualsysError
from dualsys.messages import PROTOCOL_VERSION, Message

ENCODING = "dualsys"  # message encoding of the channels: the frames of dualsys.codec
HEADER = "header"


class LogWriter:
    """Writes messages; close it (or leave its `with` block) to make the file complete."""

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._writer = Writer(self._file, compression=CompressionType.ZSTD)
        self._writer.start(profile="", library=f"dualsys protocol {PROTOCOL_VERSION}")
        text = msgspec.json.encode(header, order="sorted").decode()
        self._writer.add_metadata(HEADER, {"json": text})
        self._channels: dict[str, int] = {}
        self._counts: dict[str, int] = {}

    def write(self, topic: str, message: Message) -> None:
        """Append a message under its own time stamp."""
        self.write_frame(topic, encode(message), message.stamp.time_ns)

    def write_frame(self, topic: str, frame: bytes, time_ns: int) -> None:
        """Append a frame as it was received."""
        if topic not in self._channels:
            self._channels[topic] = self._writer.register_channel(
                topic=topic, message_encoding=ENCODING, schema_id=0
            )
        count = self._counts[topic] = self._counts.get(topic, 0) + 1
        self._writer.add_message(
            self._channels[topic], time_ns, frame, publish_time=time_ns, sequence=count
        )

    def close(self) -> None:
        """Write the summary and close the file."""
        if not self._file.closed:
            self._writer.finish()
            self._file.close()

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class NoLog:
    """Takes messages and forgets them: an episode can be run again when its log is wanted."""

    def write(self, topic: str, message: Message) -> None:
        """Forget a message."""


def read_header(path: Path) -> dict[str, Any]:
    """Return the run's header from a log."""
    with path.open("rb") as file:
        for record in make_reader(file).iter_metadata():
            if record.name == HEADER:
                header: dict[str, Any] = msgspec.json.decode(record.metadata["json"])
                return header
    raise DualsysError(f"{path} has no dualsys header; it is not a log of this program")


def read_log(path: Path) -> Iterator[tuple[str, Message]]:
    """Yield (topic, message) in the order in which they were written."""
    with path.open("rb") as file:
        for _, channel, record in make_reader(file).iter_messages(log_time_order=False):
            yield channel.topic, decode(record.data)


def concatenate(parts: list[Path], out: Path, header: dict[str, Any]) -> None:
    """Write the messages of `parts`, in that order, into one log; frames are copied verbatim."""
    partial = out.with_suffix(".partial")
    with LogWriter(partial, header) as log:
        for part in parts:
            with part.open("rb") as file:
                for _, channel, record in make_reader(file).iter_messages(log_time_order=False):
                    log.write_frame(channel.topic, record.data, record.log_time)
    partial.replace(out)
