from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from dualsys.bus import Subscriber, ipc
from dualsys.commands import show_results
from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.messages import Action, Command, Guidance, Health, Observation, PlanRequest
from dualsys.runtime.log import Damage, read_log
from dualsys.runtime.realtime import Started, realtime

Processes = dict[str, subprocess.Popen[bytes]]


def configuration(out: Path, checkpoint: Path, **changes: str) -> dict[str, Any]:
    words = [f"system1.checkpoint={checkpoint}", f"out={out}", "runtime=realtime", "trigger=always"]
    words += ["runtime.duration_s=5", *(f"{k}={v}" for k, v in changes.items())]
    return load("eval", ["scenario=driving/highway", "system2=scripted", *words])


def run(
    out: Path, checkpoint: Path, started: Started = lambda processes, folder: None
) -> dict[str, Any]:
    config = configuration(out, checkpoint)
    return realtime(config, "driving/highway", list(range(50)), started)


def ready_ns(log: list[Any]) -> int:
    """When System 2 gave its first sign of life."""
    lives = [m for m in log if isinstance(m, Health) and m.process == "system2"]
    return min(m.stamp.time_ns for m in lives)


def once_it_thinks(act: Callable[[Processes], None]) -> Started:
    """Call `act` half a second after System 2's first answer has been seen on its topic."""

    def watch(processes: Processes, folder: Path) -> None:
        with Subscriber(ipc(folder, "plan")) as plans:
            while processes["world"].poll() is None:
                plans.poll(50)
                if any(isinstance(message, Guidance) for message in plans.every()):
                    time.sleep(0.5)
                    act(processes)
                    return

    def started(processes: Processes, folder: Path) -> None:
        threading.Thread(target=watch, args=(processes, folder), daemon=True).start()

    return started


def test_two_systems_drive_on_the_wall_clock_and_everything_is_logged(
    untrained: Path, tmp_path: Path
) -> None:
    results = run(tmp_path, untrained)
    log = [message for _, message in read_log(tmp_path / "log.mcap")]
    observations = [m for m in log if isinstance(m, Observation)]
    commands = [m for m in log if isinstance(m, Command)]
    assert len(observations) == len(commands) == results["ticks"]["total"] > 40
    assert any(m.guidance_sequence >= 0 for m in log if isinstance(m, Action))
    assert results["calls"] > 5
    assert all(m.stamp.session == observations[0].stamp.session for m in log)
    trace = json.loads((tmp_path / "latency.json").read_text())
    thoughts = trace["system2_ns"]
    assert sum(len(times) for times in thoughts) == sum(isinstance(m, Guidance) for m in log)
    assert commands[0].stamp.time_ns > ready_ns(log), "the world waited for System 2"
    beats = Counter(m.process for m in log if isinstance(m, Health))
    assert all(beats[process] >= 3 for process in ("world", "system1", "system2"))
    assert set(results["age"]) == {"observation_to_action", "plan"}


def test_a_run_begins_without_a_system_2_that_does_not_load(
    untrained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def hold(processes: Processes, folder: Path) -> None:
        os.kill(processes["system2"].pid, signal.SIGSTOP)

        def release() -> None:
            with Subscriber(ipc(folder, "action")) as actions:
                while not actions.poll(50) and processes["world"].poll() is None:
                    pass
            time.sleep(2.5)  # a second until System 1 is engaged, then System 2's patience
            os.kill(processes["system2"].pid, signal.SIGCONT)

        threading.Thread(target=release, daemon=True).start()

    words = {"runtime.planner_patience_s": "0.5", "runtime.duration_s": "8"}
    config = configuration(tmp_path, untrained, **words)
    realtime(config, "driving/highway", list(range(50)), hold)
    assert "System 2 is not ready after 0.5 s" in capfd.readouterr().err
    log = [message for _, message in read_log(tmp_path / "log.mcap")]
    ready = ready_ns(log)
    assert min(m.stamp.time_ns for m in log if isinstance(m, Command)) < ready - 500_000_000
    asked = {
        (m.stamp.epoch, m.request_id): m.stamp.time_ns for m in log if isinstance(m, PlanRequest)
    }
    assert min(asked.values()) < ready
    told = [asked[m.stamp.epoch, m.request_id] for m in log if isinstance(m, Guidance)]
    thoughts = json.loads((tmp_path / "latency.json").read_text())["system2_ns"]
    measured = sum(since >= ready for since in told)
    assert sum(len(times) for times in thoughts) == measured > 0, "loading is no latency"


@pytest.mark.parametrize("fate", [signal.SIGSTOP, signal.SIGKILL])
def test_a_dead_or_frozen_system_2_costs_system_1_no_tick(
    untrained: Path, tmp_path: Path, fate: signal.Signals
) -> None:
    """Frozen it is silent to the end of this short run; killed it is started again."""
    hit_at: list[int] = []

    def strike(processes: Processes) -> None:
        hit_at.append(time.monotonic_ns())
        os.kill(processes["system2"].pid, fate)

    seconds = "5" if fate == signal.SIGSTOP else "20"
    config = configuration(tmp_path, untrained, **{"runtime.duration_s": seconds})
    results = realtime(config, "driving/highway", list(range(200)), once_it_thinks(strike))
    log = [message for _, message in read_log(tmp_path / "log.mcap")]
    after = [m for m in log if isinstance(m, Command) and m.stamp.time_ns > hit_at[0]]
    assert after, "the world was to go on after the blow"
    # Every tick still has its command; apart from an episode's first ticks System 1 gave it.
    served = [m for m in after if m.stamp.tick > 5]
    assert sum(m.source == "system1" for m in served) >= 0.9 * len(served)
    assert results["ticks"]["total"] == sum(isinstance(m, Command) for m in log)
    told = [m.stamp.time_ns for m in log if isinstance(m, Guidance)]
    later = [time_ns for time_ns in told if time_ns > hit_at[0] + 1_000_000_000]
    assert len(told) > len(later), "the planner was to answer before it was struck"
    assert results["processes"]["system1"]["restarts"] == 0
    assert results["processes"]["system2"]["restarts"] == (fate == signal.SIGKILL)
    if fate == signal.SIGKILL:
        used = {m.guidance_sequence for m in log if isinstance(m, Action)}
        again = {m.stamp.sequence for m in log if isinstance(m, Guidance)
                 and m.stamp.time_ns in later}  # fmt: skip
        assert used & again, "what it says after its restart is not taken for old"
        return
    assert not later
    # The report says that the guidance aged.
    silence_ns = max(m.stamp.time_ns for m in after) - max(told)
    assert results["guidance"]["silent_for_s"] == pytest.approx(silence_ns / 1e9)
    assert results["guidance"]["silent_for_s"] > 1.0
    console = Console(record=True, width=200, file=io.StringIO())
    show_results(results, console)
    assert "before the end" in console.export_text()


def test_a_system_1_that_is_killed_comes_back_and_engages_again(
    untrained: Path, tmp_path: Path
) -> None:
    hit_at: list[int] = []

    def strike(processes: Processes) -> None:
        hit_at.append(time.monotonic_ns())
        os.kill(processes["system1"].pid, signal.SIGKILL)

    config = configuration(tmp_path, untrained, **{"runtime.duration_s": "30"})
    results = realtime(config, "driving/highway", list(range(200)), once_it_thinks(strike))
    assert results["processes"]["system1"]["restarts"] == 1
    assert results["processes"]["system2"]["restarts"] == 0
    log = [message for _, message in read_log(tmp_path / "log.mcap")]
    commands = [m for m in log if isinstance(m, Command) and m.stamp.time_ns > hit_at[0]]
    rungs = [m.rung for m in commands]
    assert "silent" in rungs
    assert "standby" in rungs, "the new one has to engage"
    back = max(i for i, m in enumerate(commands) if m.rung == "standby")
    assert commands[back + 1].source == "system1"
    asked = [m.stamp.time_ns for m in log if isinstance(m, Guidance)]
    assert max(asked) > commands[back].stamp.time_ns, "and is answered when it asks"


def test_a_missing_checkpoint_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(DualsysError, match="dualsys train system1"):
        run(tmp_path / "out", tmp_path / "nowhere")


# Whoever starts the tests in the background may have let them ignore the signal.
INTERRUPTIBLE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from dualsys.cli import main; main()"
)


def recorded(log: Path, kind: type[Any]) -> int:
    """How many messages of a kind a log holds that is being written."""
    return sum(isinstance(m, kind) for _, m in read_log(log, Damage())) if log.is_file() else 0


def at_work(folder: str) -> list[str]:
    """Whose command line names a folder."""
    lines = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(place.read_bytes().decode(errors="replace"))
    return [line for line in lines if folder in line]


def test_ctrl_c_leaves_a_log_that_opens_and_no_process(untrained: Path, tmp_path: Path) -> None:
    log, words = tmp_path / "log.mcap", [f"system1.checkpoint={untrained}", f"out={tmp_path}"]
    words += ["scenario=driving/highway", "system2=scripted", "runtime=realtime", "trigger=always"]
    with tempfile.TemporaryDirectory() as sockets:
        # A session of its own: the signal reaches the parent and its nodes, as Ctrl-C does.
        run = subprocess.Popen(
            [sys.executable, "-c", INTERRUPTIBLE, "eval", *words, "seeds=0:50"],
            env={**os.environ, "TMPDIR": sockets},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            while not recorded(log, Guidance):
                assert run.poll() is None, run.stderr and run.stderr.read()
                time.sleep(0.2)
            assert len(at_work(sockets)) == 4
            os.killpg(run.pid, signal.SIGINT)
            _, error = run.communicate()
        finally:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
        assert run.returncode == 130, error
        assert "Traceback" not in error
        assert recorded(log, Command) > 3
        assert not at_work(sockets)
