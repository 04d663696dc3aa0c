"""The log of record: every message verbatim in an MCAP file, and reading it back.

Each channel is one topic; the bytes of a record are the frame as it was sent. In lockstep the file
is byte-equal for equal seeds and configuration: it holds virtual time only and no machine's name.
"""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import msgspec
import zstandard
from mcap.exceptions import McapError
from mcap.records import Channel, Chunk, Metadata
from mcap.records import Message as McapMessage
from mcap.stream_reader import CRCValidationError, StreamReader, breakup_chunk
from mcap.writer import CompressionType, Writer

from dualsys.codec import decode, encode
from dualsys.errors import DualsysError
from dualsys.messages import PROTOCOL_VERSION, Message

ENCODING = "dualsys"  # message encoding of the channels: the frames of dualsys.codec
HEADER = "header"
CHUNK_MARK = b"\x04\0\0\0zstd"
CHUNK_CODE, CHUNK_HEAD = 0x06, 1 + 8 + 8 + 8 + 8 + 4  # bytes of a chunk before its mark
MAX_RECORD = 1 << 30  # bytes; a longer one is a damaged length
UNREADABLE = (
    McapError,
    CRCValidationError,
    zstandard.ZstdError,
    struct.error,
    UnicodeDecodeError,
    ValueError,
    KeyError,
    MemoryError,
)


class LogWriter:
    """Writes messages; close it (or leave its `with` block) to make the file complete."""

    def __init__(
        self,
        path: Path,
        header: dict[str, Any],
        disk: Callable[[IO[bytes]], Any] = lambda file: file,
    ) -> None:
        """`disk` may stand before the file and do to it what disks do."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = disk(path.open("wb"))
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

    def flush(self) -> None:
        """Let everything so far be in the file: whoever kills this process loses only the rest."""
        self._writer.flush()

    @property
    def size(self) -> int:
        """Bytes in the file so far."""
        return int(self._file.tell())

    def abandon(self) -> None:
        """Close the file as it is, without a summary: it can not be written any more."""
        with suppress(OSError):
            self._file.close()

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


def parts_of(path: Path) -> list[Path]:
    """The files of a log: `path`, then those that go on with it (log.001.mcap, ...), in order."""
    others = sorted(path.parent.glob(f"{path.stem}.[0-9][0-9][0-9]{path.suffix}"))
    return [part for part in (path, *others) if part.is_file()]


def next_part(path: Path) -> Path:
    """The file that goes on with a log; `path` itself where there is none yet."""
    there = parts_of(path)
    if not there:
        return path
    number = int(there[-1].stem.rpartition(".")[2]) + 1 if there[-1] != path else 1
    return path.with_name(f"{path.stem}.{number:03d}{path.suffix}")


def read_header(path: Path) -> dict[str, Any]:
    """Return the run's header from a log, whole or not. Raises `DualsysError` without one."""
    if not path.is_file():
        raise DualsysError(f"there is no log {path}; give the folder of a run that was recorded")
    with Bounded(path.open("rb", buffering=0)) as file:
        for record in _whole_records(file, Damage()):
            if isinstance(record, Metadata) and record.name == HEADER:
                header: dict[str, Any] = msgspec.json.decode(record.metadata["json"])
                return header
    raise DualsysError(f"{path} has no dualsys header; it is not a log of this program")


class Damage:
    """What of a log could not be read: chunks that are not what was written, and a missing end."""

    def __init__(self) -> None:
        self.chunks = 0
        self.cut_off = False

    def tell(self, path: Path) -> None:
        """Say so on the error stream, if anything is missing."""
        what = ["ends in the middle"] if self.cut_off else []
        what += [f"holds {self.chunks} damaged places, left out"] if self.chunks else []
        if what:
            sys.stderr.write(f"dualsys: {path} {' and '.join(what)}; the rest of it is read\n")


def read_log(path: Path, damage: Damage | None = None) -> Iterator[tuple[str, Message]]:
    """Yield (topic, message) in the order in which they were written, of all parts of the log.

    A log that was cut off or damaged is read as far as it is whole, and that is told on the error
    stream, or noted in `damage`. Raises `CodecError` for messages of another protocol version.
    """
    for topic, frame, _ in frames_of(path, damage):
        yield topic, decode(frame)


def frames_of(path: Path, damage: Damage | None = None) -> Iterator[tuple[str, bytes, int]]:
    """Yield (topic, frame, time [ns]) of all parts of a log, verbatim; as `read_log` otherwise."""
    parts = parts_of(path)
    if not parts:
        raise DualsysError(f"there is no log {path}; give the folder of a run that was recorded")
    for part in parts:
        found, topics = Damage(), dict[int, str]()
        with Bounded(part.open("rb", buffering=0)) as file:
            for record in _whole_records(file, found):
                if isinstance(record, Channel):
                    topics[record.id] = record.topic
                elif isinstance(record, McapMessage):
                    # A channel is named once: where that was lost, the message itself says it.
                    topic = topics.get(record.channel_id) or _topic(record.data)
                    yield topic, record.data, record.log_time
        if damage is None:
            found.tell(part)
        else:
            damage.chunks += found.chunks
            damage.cut_off |= found.cut_off


def _topic(frame: bytes) -> str:
    return str(type(decode(frame)).__struct_config__.tag)


class Bounded(io.BufferedReader):
    """A file of which nobody reads more at once than a record holds: lengths may be damaged."""

    def read(self, size: int | None = -1) -> bytes:
        """As every file's. Raises `ValueError` for more than a record holds."""
        if size is not None and size > MAX_RECORD:
            raise ValueError(f"a part of a record would be {size} bytes long")
        return super().read(size)


def _whole_records(file: IO[bytes], damage: Damage) -> Iterator[Any]:
    """Every record that can be read, those inside chunks too; after damage from the next chunk."""
    records = iter(StreamReader(file, emit_chunks=True, record_size_limit=MAX_RECORD).records)
    while True:
        begin = file.tell()
        try:
            record = next(records)
            inside = breakup_chunk(record, True) if isinstance(record, Chunk) else [record]
        except StopIteration:
            return
        except UNREADABLE:
            if not _seek_chunk(file, begin + 1):
                damage.cut_off = True
                return
            damage.chunks += 1
            reader = StreamReader(file, True, True, record_size_limit=MAX_RECORD)
            records = iter(reader.records)
            continue
        yield from inside


def _seek_chunk(file: IO[bytes], begin: int) -> bool:
    """Go to the next thing from `begin` on that looks like a chunk; False if there is none.

    MCAP has no marks to find one's way back by. A chunk begins with its code, its length, two
    times, its size, a checksum and then the name of its compression: that is looked for.
    """
    file.seek(begin)
    rest = file.read()
    at = rest.find(CHUNK_MARK, CHUNK_HEAD)
    while at >= 0 and rest[at - CHUNK_HEAD] != CHUNK_CODE:
        at = rest.find(CHUNK_MARK, at + 1)
    if at >= 0:
        file.seek(begin + at - CHUNK_HEAD)
    return at >= 0


def concatenate(parts: list[Path], out: Path, header: dict[str, Any]) -> None:
    """Write the messages of `parts`, in that order, into one log; frames are copied verbatim."""
    partial = out.with_suffix(".partial")
    with LogWriter(partial, header) as log:
        for part in parts:
            for frame in frames_of(part):
                log.write_frame(*frame)
    partial.replace(out)
