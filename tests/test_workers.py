from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from dualsys.errors import DualsysError, UnknownNameError, WorkerError
from dualsys.workers import by_scenario, completed, on_ray

ROOT = Path(__file__).parents[1]


def half(number: int) -> tuple[int, int]:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number // 2, os.getpid()


def test_results_come_with_the_number_of_their_job() -> None:
    found = dict(completed(half, [2, 8, 4], 2))
    assert {number: result[0] for number, result in found.items()} == {0: 1, 1: 4, 2: 2}
    assert os.getpid() not in {pid for _, pid in found.values()}


def misnamed(number: int) -> int:
    raise UnknownNameError("number", str(number), ["one"])


def dies(number: int) -> int:
    os._exit(number)


def test_a_failed_job_is_told_in_one_line() -> None:
    with pytest.raises(
        WorkerError, match=r"ValueError: 3 is odd \(in half, test_workers\.py:\d+\)"
    ):
        list(completed(half, [3], 1))
    with pytest.raises(UnknownNameError, match="unknown number '3'"):
        list(completed(misnamed, [3], 1))


def test_a_worker_that_dies_is_told() -> None:
    with pytest.raises(WorkerError, match=r"worker process died .* run the same command again"):
        list(completed(dies, [1], 1))


def lingers(file: str) -> None:
    Path(file).write_text(str(os.getpid()))
    time.sleep(600)


@pytest.mark.skipif(sys.platform != "linux", reason="processes end with their parent on Linux only")
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    code = "import sys, tests.test_workers as t; list(t.completed(t.lingers, [sys.argv[1]], 1))"
    with subprocess.Popen([sys.executable, "-c", code, str(file)], cwd=ROOT) as parent:
        until(lambda: file.is_file() and file.read_text() != "")
        worker = Path(f"/proc/{file.read_text()}/stat")
        assert worker.exists()
        parent.kill()
    # Nobody may be there to wait for it: a zombie has ended too.
    until(lambda: not worker.exists() or worker.read_text().rpartition(")")[2].split()[0] == "Z")


def until(true: Callable[[], bool], patience_s: float = 60.0) -> None:
    for _ in range(round(patience_s / 0.05)):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError(f"not within {patience_s:g} s")


@pytest.mark.slow
def test_a_cluster_tells_failures_as_one_machine_does() -> None:
    pytest.importorskip("ray", reason="Ray comes with the extra `cluster`")
    run = on_ray("local")
    with pytest.raises(WorkerError, match=r"ValueError: 3 is odd") as failed:
        list(run(half, [3], 1))
    assert "\n" not in str(failed.value)
    with pytest.raises(UnknownNameError, match="unknown number '3'"):
        list(run(misnamed, [3], 1))
    with pytest.raises(WorkerError, match="worker process died") as died:
        list(run(dies, [1], 1))
    assert "\n" not in str(died.value)
    with pytest.raises(DualsysError, match=r"no Ray cluster answers at ray_address=nowhere"):
        list(on_ray("nowhere")(half, [2], 1))


class Piece(msgspec.Struct, frozen=True):
    """Something of a scenario."""

    scenario: str
    number: int


def test_what_one_worker_takes_on_is_of_one_scenario_and_not_too_much() -> None:
    pieces = [Piece("ab"[n % 2], n) for n in range(7)]
    parts = [(name, [p.number for p in part]) for name, part in by_scenario(pieces, 3)]
    assert parts == [("a", [0, 2, 4]), ("a", [6]), ("b", [1, 3, 5])]
