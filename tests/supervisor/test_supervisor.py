"""The supervisor on real processes: small ones that stand for the nodes of a run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dualsys.clock import MonotonicClock
from dualsys.errors import DualsysError
from dualsys.supervisor.supervisor import Processes, Supervisor
from dualsys.supervisor.table import SupervisorConfig
from tests.supervisor.tables import config, python

BEATS = """
import sys, time
from pathlib import Path
from dualsys.bus import Publisher, ipc
from dualsys.messages import Health, Stamp
name, folder = sys.argv[2], Path(sys.argv[1])
with Publisher(ipc(folder, f"health_{name}")) as health:
    while True:
        health.send(Health(Stamp(1, 0, 1, 0, 0), name, "running", {}, {}))
        time.sleep(0.05)
"""
WAITS = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ds-") as made:  # short, for the sockets' paths
        yield Path(made)


def beating(name: str) -> dict[str, Any]:
    return {"command": [*python(BEATS), name]}


def table(seconds: float, **processes: Any) -> SupervisorConfig:
    """A run whose world lasts so long; health comes at once, so that patience can be short."""
    world = {"command": python(f"import time; time.sleep({seconds})"), "restart": "never"}
    rows = {**processes, "world": world}
    return config(processes=rows, stop_s=1.0, heartbeat_s=2.0, loading_s=20.0)


def supervised(
    made: SupervisorConfig,
    folder: Path,
    started: Callable[[Processes, Path], None] = lambda processes, folder: None,
) -> Supervisor:
    supervisor = Supervisor(made, made.wanted(planner=True), folder, MonotonicClock())
    supervisor.run(started)
    return supervisor


def gone(pid: int) -> bool:
    """Whether a process is there no more (or only as an entry that nobody has collected)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def eventually(true: Callable[[], bool], seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if true():
            return True
        time.sleep(0.02)
    return False


def test_when_the_world_ends_every_process_is_ended(folder: Path) -> None:
    seen: dict[str, int] = {}
    made = table(0.3, recorder={"command": python(WAITS)}, system1={"command": python(STUBBORN)})
    supervisor = supervised(made, folder, lambda p, f: seen.update({n: p[n].pid for n in p}))
    assert set(seen) == {"recorder", "system1", "world"}
    assert all(gone(pid) for pid in seen.values())
    assert supervisor.report == {name: {"restarts": 0} for name in ("recorder", "system1", "world")}


def test_a_killed_system_2_is_started_again_and_system_1_does_not_notice(folder: Path) -> None:
    pids: dict[str, set[int]] = {"system1": set(), "system2": set()}

    def strike(processes: Processes, folder: Path) -> None:
        def watch() -> None:
            first = processes["system2"].pid
            os.kill(first, signal.SIGKILL)
            until = time.monotonic() + 2.0
            while time.monotonic() < until:
                for name in pids:
                    process = processes.get(name)
                    if process is not None:
                        pids[name].add(process.pid)

        threading.Thread(target=watch, daemon=True).start()

    made = table(2.5, system1={"command": python(WAITS)}, system2={"command": python(WAITS)})
    report = supervised(made, folder, strike).report
    assert len(pids["system1"]) == 1
    assert len(pids["system2"]) == 2
    assert report["system2"] == {"restarts": 1}


def test_one_that_hangs_is_killed_and_started_again(folder: Path) -> None:
    def freeze(processes: Processes, folder: Path) -> None:
        def later() -> None:
            time.sleep(1.5)  # until it beats
            os.kill(processes["system2"].pid, signal.SIGSTOP)

        threading.Thread(target=later, daemon=True).start()

    made = table(6.0, system1=beating("system1"), system2=beating("system2"))
    report = supervised(made, folder, freeze).report
    assert report["system2"]["restarts"] == 1
    assert report["system1"]["restarts"] == 0


class Jumping(MonotonicClock):
    """The monotonic clock, an hour further from a moment on: a machine that slept."""

    def __init__(self, after_s: float) -> None:
        self._from_ns = super().now_ns() + round(after_s * 1e9)

    def now_ns(self) -> int:
        now = super().now_ns()
        return now + (3_600_000_000_000 if now > self._from_ns else 0)


def test_after_a_sleep_of_the_machine_nobody_is_killed(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = table(4.0, system1=beating("system1"), system2=beating("system2"))
    supervisor = Supervisor(made, made.wanted(planner=True), folder, Jumping(2.5))
    supervisor.run(lambda processes, folder: None)
    assert {name: told["restarts"] for name, told in supervisor.report.items()} == {
        "system1": 0, "system2": 0, "world": 0,
    }  # fmt: skip
    assert "stood still for 3600.0 s; nobody is blamed" in capfd.readouterr().err


def test_system_1_is_given_up_after_three_restarts_and_the_run_ends(folder: Path) -> None:
    made = table(60.0, system1={"command": python("raise SystemExit(1)")})
    with pytest.raises(DualsysError, match="the run is ended: system1 was started 4 times in 60 s"):
        supervised(made, folder)


def test_a_system_2_that_is_given_up_leaves_the_run_going(folder: Path) -> None:
    made = table(2.0, system2={"command": python("raise SystemExit(1)")})
    report = supervised(made, folder).report
    assert report["system2"]["restarts"] == 3
    assert "exit code 1" in str(report["system2"]["given_up"])


def test_a_world_that_fails_ends_the_run(folder: Path) -> None:
    world = {"command": python("raise SystemExit(7)"), "restart": "never"}
    made = config(processes={"system1": {"command": python(WAITS)}, "world": world})
    with pytest.raises(DualsysError, match="the world ended with exit code 7"):
        supervised(made, folder)


def test_what_can_not_be_started_is_named(folder: Path) -> None:
    made = table(5.0, system1={"command": ["/nowhere/at/all"]})
    with pytest.raises(DualsysError, match=r"system1 can not be started .*nowhere.*mend superv"):
        supervised(made, folder)


def test_children_of_a_process_do_not_survive_it(folder: Path) -> None:
    code = (
        "import subprocess, sys, time; from pathlib import Path; "
        "child = subprocess.Popen(['sleep', '60']); "
        "Path(sys.argv[1], 'child').write_text(str(child.pid)); time.sleep(60)"
    )
    made = table(1.5, system1={"command": python(code)})
    supervised(made, folder)
    pid = int((folder / "child").read_text())
    assert eventually(lambda: gone(pid))


RUN = """
import signal, sys
# Whoever starts the tests in the background may have let them ignore the signal.
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from dualsys.clock import MonotonicClock
from dualsys.supervisor.supervisor import Supervisor
from tests.supervisor.test_supervisor import STUBBORN, WAITS, python, table
child = "from dualsys.workers import end_with_parent; end_with_parent(); "
made = table(60.0, recorder={"command": python(child + WAITS)},
             system1={"command": python(child + STUBBORN)})
mark = Path(sys.argv[1]) / "pids"
def started(processes, folder):
    mark.with_suffix(".partial").write_text(" ".join(str(p.pid) for p in processes.values()))
    mark.with_suffix(".partial").replace(mark)
Supervisor(made, made.wanted(True), Path(sys.argv[1]), MonotonicClock()).run(started)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_the_supervisor_ends_nobody_is_left(folder: Path, number: signal.Signals) -> None:
    """Told to end it has ten seconds for all of them; killed, the system ends its nodes."""
    run = subprocess.Popen([sys.executable, "-c", RUN, str(folder)], start_new_session=True)
    pids: list[int] = []
    try:
        mark = folder / "pids"
        assert eventually(mark.is_file, 60)
        pids = [int(pid) for pid in mark.read_text().split()]
        time.sleep(1.0)  # until the stubborn one has closed its ears
        begin = time.monotonic()
        run.send_signal(number)
        run.wait(20)
        assert time.monotonic() - begin < 10
        # The world here is no node of ours: only a supervisor that lives can end it.
        own = pids[:-1] if number == signal.SIGKILL else pids
        assert eventually(lambda: all(gone(pid) for pid in own), 5)
    finally:
        for pid in pids:
            if not gone(pid):
                os.kill(pid, signal.SIGKILL)
        run.kill()
