"""What ends a benchmark early: a full disk, a crash, Ctrl-C. It is told, and can be completed."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dualsys.bench import run
from dualsys.bench.command import run_bench
from dualsys.bench.engines import Engines
from dualsys.bench.run import Job, Row, work
from dualsys.bench.store import Cell
from dualsys.cli import main
from dualsys.device import device_of
from dualsys.errors import DualsysError
from tests.benchmarks import words

PATIENCE_S = 200
# Whoever starts the tests in the background may have let them ignore the signal.
INTERRUPTIBLE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from dualsys.cli import main; main()"
)


def completed_equals(out: Path, done: Path) -> None:
    assert not (out / "bench.json").is_file()
    assert run_bench(["--resume", f"out={out}"]) == 0
    assert (out / "bench.json").read_bytes() == (done / "bench.json").read_bytes()


def told(arguments: list[str], out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The error line of a benchmark that ends early."""
    with pytest.raises(SystemExit) as stopped:
        main(["bench", *arguments])
    assert stopped.value.code == 2
    (line,) = (text for text in capsys.readouterr().err.splitlines() if "dualsys:" in text)
    assert f"complete it with: dualsys bench --resume out={out}" in line
    return line


def test_a_full_disk_is_told_and_completed(
    done: Path,
    untrained: Path,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, kept = tmp_path / "full", Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if len(list(out.rglob("episodes/*/*/*.json"))) >= 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        return kept(self, data)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        line = told(words(untrained, table, out), out, capsys)
    assert "No space left on device" in line
    assert len(list(out.rglob("episodes/*/*/*.json"))) == 6
    assert not list(out.rglob("*.partial"))
    completed_equals(out, done)


def dies(job: Job) -> list[Row]:
    if 4 in job.seeds:
        os._exit(3)
    return work(job)


def fails(job: Job) -> list[Row]:
    raise ZeroDivisionError("a simulator's")


def test_a_crashed_worker_is_told_and_completed(
    done: Path,
    untrained: Path,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "crashed"
    monkeypatch.setattr(run, "work", fails)
    line = told(words(untrained, table, out, "workers=1"), out, capsys)
    assert "ZeroDivisionError: a simulator's (in fails, test_interrupted.py:" in line
    monkeypatch.setattr(run, "work", dies)
    line = told(["--resume", f"out={out}"], out, capsys)
    assert "a worker process died" in line
    assert len(list(out.rglob("episodes/*/*/*.json"))) == 4, "the first job is kept"
    monkeypatch.setattr(run, "work", work)
    completed_equals(out, done)


def test_the_episode_of_a_failure_is_named() -> None:
    class Broken:
        def run(self, epoch: int, seed: int) -> None:
            raise IndexError("no lane")

    job = Job("never", {}, "driving/merge", (7,))
    broken: Any = Broken()
    with pytest.raises(DualsysError, match=r"never, driving/merge, seed 7 failed: IndexError: no"):
        run._episode(broken, job, 7)


def test_an_interrupt_is_told_and_completed(
    done: Path, untrained: Path, table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "interrupted"
    command = [sys.executable, "-c", INTERRUPTIBLE, "bench"]
    # A session of its own: the signal reaches the benchmark and its workers, as Ctrl-C does.
    process = subprocess.Popen(
        [*command, *words(untrained, table, out)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not list(out.rglob("episodes/*/*/*.json")):
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=PATIENCE_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert process.returncode == 130, error
    assert "interrupted; what was finished is kept; complete it with: dualsys bench" in error
    assert "Traceback" not in error
    completed_equals(out, done)


def a_config(engine: dict[str, Any], device: str) -> dict[str, Any]:
    return {
        "system1": {"driver": "network", "checkpoint": "auto", "samples": 1},
        "system2": {"name": "vlm", "checkpoint": "auto", "engine": ["torch"], "device": device},
        "engine": engine,
    }


def test_another_engine_is_refused() -> None:
    config, other = a_config({}, "cpu"), a_config({"names": ["torch"]}, "cpu")
    engines = Engines()
    onnx, torch = ({"engine": name, "device": None} for name in ("onnxruntime", "torch"))
    engines.take(Cell("never", "driving/merge", 0), config, onnx)
    engines.take(Cell("never", "driving/merge", 1), config, onnx)
    engines.take(Cell("on torch", "driving/merge", 1), other, torch)
    with pytest.raises(
        DualsysError,
        match=r"always, driving/merge, seed 3 ran on the engine torch, never, .* on onnxruntime",
    ):
        engines.take(Cell("always", "driving/merge", 3), config, torch)


def test_another_device_of_the_planner_is_refused() -> None:
    config, engines = a_config({}, "auto"), Engines()
    cpu, cuda, none = ({"engine": "torch", "device": d} for d in ("cpu", "cuda", None))
    engines.take(Cell("plan", "driving/merge", 0), config, cpu)
    engines.take(Cell("never", "driving/merge", 0), config, none)
    engines.take(Cell("on a GPU", "driving/merge", 0), a_config({}, "cuda"), cuda)
    with pytest.raises(
        DualsysError,
        match=r"seed 1 System 2 thought on cuda, in plan, driving/merge, seed 0 on cpu.* where "
        r"system2.device=auto means cpu",
    ):
        engines.take(Cell("plan", "driving/merge", 1), config, cuda)


def test_an_episode_says_on_which_device_its_planner_thought(
    untrained: Path, planner_folder: Path, table: Path, tmp_path: Path
) -> None:
    """Finished where "auto" meant another device, the benchmark is refused."""
    out, seconds = tmp_path / "out", "runtime.episode_s=1"
    vlm = ["system2=vlm", f"system2.checkpoint={planner_folder}", "variants=[periodic]"]
    arguments = [*words(untrained, table, out, "workers=1"), seconds, *vlm]
    run_bench([*arguments, "seeds=0:1"])
    found = json.loads((out / "bench.json").read_text())
    assert found["devices"] == {"periodic": device_of("auto")}
    (episode,) = out.rglob("episodes/*/*/0.json")
    row = json.loads(episode.read_text())
    assert row["device"] == device_of("auto"), "torch is not named"
    episode.write_text(json.dumps({**row, "device": "elsewhere"}))
    with pytest.raises(DualsysError, match=r"thought on .*, in periodic, .* on elsewhere"):
        run_bench([*arguments, "seeds=0:2"])
