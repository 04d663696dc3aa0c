"""A log is read while it is written: every message once, in order, whenever one looks."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualsys.runtime.log import LogWriter, next_part
from dualsys.runtime.tail import LogTail
from tests.runtime.test_recording import label


def numbers(tail: LogTail) -> list[int]:
    return [message.stamp.sequence for message in tail.new()]


def test_what_was_flushed_since_is_read_once(tmp_path: Path) -> None:
    tail = LogTail(tmp_path / "log.mcap")
    assert tail.new() == [], "there is no log yet"
    log = LogWriter(tmp_path / "log.mcap", {"session": 7})
    assert tail.new() == []
    for begin in (0, 10, 20):
        for number in range(begin, begin + 10):
            log.write("label", label(number))
        assert numbers(tail) == [], "nothing of it was flushed"
        log.flush()
        assert numbers(tail) == list(range(begin, begin + 10))
    log.close()
    assert tail.new() == []


def test_a_part_that_was_cut_off_is_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "log.mcap"
    tail = LogTail(path)
    log = LogWriter(path, {})
    log.write("label", label(0))
    log.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 4])  # its recorder was killed
    assert numbers(tail) == []
    second = LogWriter(next_part(path), {})
    second.write("label", label(1))
    second.flush()
    assert numbers(tail) == [1]
    second.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "log.mcap"
    log = LogWriter(path, {"session": 7})
    for number in range(40):
        log.write("label", label(number))
        if number % 10 == 9:
            log.flush()
    log.close()
    return path.read_bytes()


@given(cuts=st.lists(st.integers(0, 4000), max_size=6))
@settings(max_examples=60)
def test_however_the_bytes_come_every_message_is_read_once_in_order(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    path = tmp_path_factory.getbasetemp() / "growing.mcap"
    path.unlink(missing_ok=True)
    tail, read = LogTail(path), list[int]()
    for cut in (*sorted(cuts), len(whole)):
        path.write_bytes(whole[:cut])
        read += numbers(tail)
    assert read == list(range(40))
