"""What systemd is told, on a real socket of its kind."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dualsys.clock import MonotonicClock
from dualsys.environment import service_manager
from dualsys.supervisor.notify import Notifier
from dualsys.supervisor.supervisor import Supervisor
from tests.supervisor.tables import config, python

MS = 1_000_000
LIVES = """
import sys, time
from pathlib import Path
from dualsys.bus import Publisher, ipc
from dualsys.messages import Health, Stamp
with Publisher(ipc(Path(sys.argv[1]), "health_world")) as health:
    while not health.listeners():
        time.sleep(0.01)
    health.send(Health(Stamp(1, 0, 1, 0, 0), "world", "running", {}, {}))
    time.sleep(0.5)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ds-") as made:  # short, for the sockets' paths
        yield Path(made)


@pytest.fixture
def manager(folder: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(folder / "notify"))
        listening.setblocking(False)
        yield listening


def heard(manager: socket.socket) -> list[str]:
    told = []
    while True:
        try:
            told.append(manager.recv(4096).decode())
        except BlockingIOError:
            return told


def test_ready_is_said_once_and_the_watchdog_is_fed_twice_as_often_as_it_waits(
    manager: socket.socket,
) -> None:
    notifier = Notifier(manager.getsockname(), 100_000)
    for _ in range(3):
        notifier.ready("up")
    assert heard(manager) == ["READY=1\nSTATUS=up"]
    for now_ms in range(0, 200, 10):
        notifier.alive(now_ms * MS)
    assert heard(manager) == ["WATCHDOG=1"] * 4
    notifier.status("loading")
    notifier.stopping()
    assert heard(manager) == ["STATUS=loading", "STOPPING=1"]


def test_without_a_watchdog_none_is_fed_and_a_manager_that_is_gone_hurts_nobody(
    manager: socket.socket, folder: Path
) -> None:
    notifier = Notifier(manager.getsockname())
    notifier.alive(0)
    assert heard(manager) == []
    for address in ("", str(folder / "gone")):
        Notifier(address, 1).ready("up")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as abstract:
        abstract.bind(f"\0{folder.name}")
        Notifier(f"@{folder.name}").ready("up")
        assert abstract.recv(100) == b"READY=1\nSTATUS=up"


def test_the_environment_tells_where_and_for_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    assert service_manager() == ("", 0)
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    assert service_manager() == ("/run/notify", 10_000_000)
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert service_manager() == ("/run/notify", 0), "another process is watched"


def test_a_run_is_ready_when_its_world_lives_and_says_when_it_ends(
    manager: socket.socket, folder: Path
) -> None:
    table = config(processes={"world": {"command": python(LIVES), "restart": "never"}}, stop_s=1.0)
    notifier = Notifier(manager.getsockname(), 400_000)  # the socket holds ten at most
    clock = MonotonicClock()
    Supervisor(table, table.wanted(planner=False), folder, clock, notifier=notifier).run(
        lambda processes, folder: None
    )
    told = heard(manager)
    assert told.count("READY=1\nSTATUS=the world runs") == 1
    assert told.count("WATCHDOG=1") > 1
    assert told[-1] == "STOPPING=1"
