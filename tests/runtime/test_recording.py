"""The log on a disk that fails, and logs whose recorder was killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualsys.codec import encode
from dualsys.errors import DualsysError
from dualsys.messages import Health, Label, Stamp
from dualsys.runtime.log import (
    CHUNK_MARK,
    Damage,
    LogWriter,
    next_part,
    parts_of,
    read_header,
    read_log,
)
from dualsys.runtime.recording import RecorderConfig, Recording

CONFIG = RecorderConfig(queue_mb=64.0, flush_s=0.05, part_mb=0.0, part_s=0.0)


def label(number: int) -> Label:
    return Label(Stamp(1, 0, number, number, number), np.full(200, number, np.float32))


def put(recording: Recording, *numbers: int) -> None:
    for number in numbers:
        recording.put("label", encode(label(number)), number)


def numbers(path: Path) -> list[int]:
    return [message.stamp.sequence for _, message in read_log(path)]


def until(true: Any, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A log of 40 messages in four chunks."""
    path = tmp_path_factory.mktemp("whole") / "log.mcap"
    with LogWriter(path, {"session": 7}) as log:
        for number in range(40):
            log.write("label", label(number))
            if number % 10 == 9:
                log.flush()
    return path.read_bytes()


@given(st.data())
@settings(max_examples=150)
def test_a_log_that_is_cut_off_anywhere_is_read_as_far_as_it_is_whole(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.mcap"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    read = numbers(path)
    assert read == list(range(len(read)))
    assert len(read) % 10 == 0


@given(st.data())
@settings(max_examples=150)
def test_a_log_with_damaged_bytes_never_crashes_its_reader(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """What is read was written: a chunk that is not as it was is left out."""
    path = tmp_path_factory.getbasetemp() / "damaged.mcap"
    damaged = bytearray(whole)
    begin = data.draw(st.integers(0, len(whole) - 1))
    damaged[begin : begin + data.draw(st.integers(1, 40))] = data.draw(st.binary(min_size=1))
    path.write_bytes(damaged)
    assert set(numbers(path)) <= set(range(40))


@pytest.mark.parametrize("length", [1 << 40, (1 << 63) - 1, (1 << 64) - 1])
def test_a_damaged_length_makes_nobody_read_as_much(
    whole: bytes, tmp_path: Path, length: int
) -> None:
    """Not of a record, which MCAP's own reader limits, but of the data in a chunk."""
    path, damaged = tmp_path / "log.mcap", bytearray(whole)
    begin = whole.index(CHUNK_MARK) + len(CHUNK_MARK)
    damaged[begin : begin + 8] = length.to_bytes(8, "little")
    path.write_bytes(damaged)
    assert numbers(path) == list(range(10, 40)), "all but the chunk"


def test_what_is_missing_of_a_log_is_told(
    whole: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.mcap"
    path.write_bytes(whole[: len(whole) // 2])
    numbers(path)
    assert "log.mcap ends in the middle; the rest of it is read" in (capsys.readouterr().err)
    assert read_header(path) == {"session": 7}
    path.write_bytes(whole)
    numbers(path)
    assert capsys.readouterr().err == ""
    chunk = whole.index(b"zstd") + 200
    path.write_bytes(whole[:chunk] + bytes([whole[chunk] ^ 0xFF]) + whole[chunk + 1 :])
    assert numbers(path) == list(range(10, 40))
    assert "log.mcap holds 1 damaged places, left out" in capsys.readouterr().err


def test_a_log_is_read_on_from_the_next_chunk_after_garbage(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "log.mcap"
    second = whole.index(b"zstd", whole.index(b"zstd") + 4)
    path.write_bytes(whole[: second - 40] + bytes(range(256)) + whole[second + 90 :])
    damage = Damage()
    read = [message.stamp.sequence for _, message in read_log(path, damage)]
    assert read == [*range(10), *range(20, 40)]
    assert (damage.chunks, damage.cut_off) == (1, False)


def test_a_log_that_is_not_there_or_none_says_so(tmp_path: Path) -> None:
    with pytest.raises(DualsysError, match="there is no log"):
        numbers(tmp_path / "log.mcap")
    (tmp_path / "text.mcap").write_text("no log at all")
    with pytest.raises(DualsysError, match="has no dualsys header"):
        read_header(tmp_path / "text.mcap")


def test_parts_are_read_as_one_log(tmp_path: Path) -> None:
    path = tmp_path / "log.mcap"
    for first in (0, 5, 10):
        with LogWriter(next_part(path), {}) as log:
            for number in range(first, first + 5):
                log.write("label", label(number))
    assert [part.name for part in parts_of(path)] == ["log.mcap", "log.001.mcap", "log.002.mcap"]
    assert numbers(path) == list(range(15))


@pytest.mark.parametrize("limit", [{"part_mb": 0.001}, {"part_s": 0.05}])
def test_a_full_part_is_followed_by_another(tmp_path: Path, limit: dict[str, float]) -> None:
    settings = RecorderConfig(**{"queue_mb": 64.0, "flush_s": 0.02, "part_mb": 0.0, "part_s": 0.0,
                                 **limit})  # fmt: skip
    recording = Recording(tmp_path / "log.mcap", {}, settings)
    for number in range(0, 40, 2):
        put(recording, number, number + 1)
        time.sleep(0.02)
    recording.close()
    assert len(parts_of(tmp_path / "log.mcap")) > 2
    assert numbers(tmp_path / "log.mcap") == list(range(40))
    assert recording.counts == {"written": 40}


class FullDisk(LogWriter):
    """A disk that takes nothing while `full` is set."""

    full = False

    def write_frame(self, topic: str, frame: bytes, time_ns: int) -> None:
        if FullDisk.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().write_frame(topic, frame, time_ns)


def test_a_full_disk_is_counted_and_gone_on_with_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = Recording(tmp_path / "log.mcap", {}, CONFIG, FullDisk)
    put(recording, *range(10))
    until(lambda: recording.counts["written"] == 10)
    time.sleep(0.2)  # flushed
    monkeypatch.setattr(FullDisk, "full", True)
    put(recording, *range(10, 20))
    until(lambda: recording.counts["disk"] >= 1)
    monkeypatch.setattr(FullDisk, "full", False)
    put(recording, *range(20, 30))
    recording.close()
    assert numbers(tmp_path / "log.mcap") == list(range(30))
    assert recording.counts["queue_full"] == 0


class RefusesToFlush(LogWriter):
    """A disk that is found to be full only when the buffers are emptied."""

    refusals = 1

    def flush(self) -> None:
        if RefusesToFlush.refusals:
            RefusesToFlush.refusals -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().flush()


def test_what_a_lost_part_may_have_held_goes_into_the_next(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "log.mcap", {}, CONFIG, RefusesToFlush)
    put(recording, *range(10))
    until(lambda: recording.counts["disk"] == 1)
    put(recording, *range(10, 20))
    recording.close()
    assert numbers(tmp_path / "log.mcap") == list(range(20))
    assert recording.counts == {"written": 20, "disk": 1}


class StuckDisk(LogWriter):
    """A disk that does not answer until it is let go."""

    go = threading.Event()

    def write_frame(self, topic: str, frame: bytes, time_ns: int) -> None:
        StuckDisk.go.wait()
        super().write_frame(topic, frame, time_ns)


def test_a_disk_that_hangs_holds_nobody_up_and_what_does_not_fit_is_counted(
    tmp_path: Path,
) -> None:
    StuckDisk.go.clear()
    room = 20 * len(encode(label(0)))
    small = RecorderConfig(queue_mb=room / 1e6, flush_s=0.05, part_mb=0.0, part_s=0.0)
    recording = Recording(tmp_path / "log.mcap", {}, small, StuckDisk)
    put(recording, *range(50))
    assert 25 <= recording.counts["queue_full"] <= 30
    recording.close(patience_s=0.2)
    assert recording.counts["left_behind"] > 0
    StuckDisk.go.set()
    until(lambda: recording.counts["written"] >= 20)


WRITER = """
import sys, time
from pathlib import Path
from tests.runtime.test_recording import label, put
from dualsys.runtime.recording import RecorderConfig, Recording
recording = Recording(Path(sys.argv[1]), {"session": 7}, RecorderConfig(64.0, 0.5, 0.0, 0.0))
number = 0
while True:
    put(recording, number)
    print(number, time.monotonic_ns(), flush=True)
    number += 1
    time.sleep(0.005)
"""


def test_kill_9_loses_no_more_than_the_last_second(tmp_path: Path) -> None:
    path = tmp_path / "log.mcap"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        told: list[tuple[int, int]] = []
        while len(told) < 500:
            number, when = process.stdout.readline().split()
            told.append((int(number), int(when)))
        killed_ns = time.monotonic_ns()
        process.send_signal(signal.SIGKILL)
    read = numbers(path)
    assert read == list(range(len(read)))
    old = [number for number, when in told if when < killed_ns - 1_000_000_000]
    assert len(old) > 100
    assert read[-1] >= old[-1]


@pytest.mark.parametrize(
    ("name", "value"),
    [("queue_mb", 0.0), ("flush_s", -1.0), ("part_mb", -1.0), ("part_s", float("nan"))],
)
def test_a_setting_out_of_range_is_named(tmp_path: Path, name: str, value: float) -> None:
    settings = {"queue_mb": 1.0, "flush_s": 1.0, "part_mb": 0.0, "part_s": 0.0, name: value}
    with pytest.raises(DualsysError, match=f"recorder.{name} must be"):
        Recording(tmp_path / "log.mcap", {}, RecorderConfig(**settings))


def test_health_and_labels_go_to_their_own_topics(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "log.mcap", {}, CONFIG)
    put(recording, 1)
    health = Health(Stamp(1, 0, 5, 0, 0), "world", "running", {}, {})
    recording.put("health", encode(health), 0)
    recording.close()
    assert [topic for topic, _ in read_log(tmp_path / "log.mcap")] == ["label", "health"]
