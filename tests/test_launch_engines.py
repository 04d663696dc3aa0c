"""The scripts about engines, as far as a processor goes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch

from dualsys.codec import encode
from dualsys.runtime.log import LogWriter, read_log
from dualsys.runtime.probe import requests_of
from dualsys.system2.checkpoint import RECORDED
from tests.scripts import ROOT, run


def test_the_gpu_check_rehearses_on_a_processor(tmp_path: Path) -> None:
    words = ["--rehearse", "--rounds", "2", "--domains", "driving", "--out", str(tmp_path)]
    done = subprocess.run(
        ["bash", "launch/gpu_check.sh", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert set(report["not_measured"]) == {"kernels", "planners"}, "nothing is made up"
    for found in report["policies"].values():
        assert found["agreement"]["onnxruntime"]["chunk"]["cosine"] > 0.99999
        assert found["times"]["onnxruntime"]["rounds"] == 2
        assert found["inputs"] == "46 recorded inputs"
    assert "kernels: not measured, needs a GPU" in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_gpu_check_says_that_there_is_no_gpu() -> None:
    done = run("launch/gpu_check.py")
    assert done.returncode == 2
    assert "torch sees no GPU here; --rehearse" in done.stderr


def test_memory_is_counted_over_ticks_and_calls(tmp_path: Path) -> None:
    words = ["--engine", "onnxruntime", "--ticks", "300", "--calls", "300"]
    done = run("launch/steady_check.py", "driving/merge", *words, "--out", tmp_path / "s.json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "s.json").read_text())
    assert found["ticks"]["ticks"] == 300
    assert found["ticks"]["growth_kib"] < 64
    assert len(found["calls"]["resident_kib"]) == 101
    assert found["calls"]["calls"] == 300


def test_eight_bits_are_held_against_torch_on_inputs_that_calibrated_nothing(
    tmp_path: Path,
) -> None:
    done = run("launch/int8_check.py", "--rounds", "2", "--out", tmp_path / "q.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "q.json").read_text())
    assert found["calibrated_on"] == found["compared_on"] == 23
    engines = found["engines"]
    assert len(engines) == 7
    assert engines["float32"]["fault"] is None
    assert engines["float32"]["outputs"]["chunk"]["cosine"] > 0.99999
    assert all(row["pass"]["rounds"] == 2 for row in engines.values())


def test_an_engine_that_disagrees_is_not_counted(tmp_path: Path) -> None:
    done = run("launch/steady_check.py", "--engine", "torch-cuda", "--out", tmp_path / "s.json")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert done.returncode == 2
    assert "needs a GPU that torch sees" in done.stderr


def test_requests_of_runs_are_kept_beside_a_planner(tmp_path: Path) -> None:
    requests = requests_of("driving/merge", 4)
    planner = tmp_path / "planner"
    planner.mkdir()
    for number in range(2):
        with LogWriter(tmp_path / f"run{number}" / "log.mcap", {}) as log:
            for request in requests[2 * number : 2 * number + 2]:
                log.write("requests", request)
    runs = [tmp_path / "run0", tmp_path / "run1"]
    done = run("launch/record_requests.py", planner, *runs, "--count", "2")
    assert done.returncode == 0, done.stderr
    kept = [message for _, message in read_log(planner / RECORDED)]
    assert [encode(message) for message in kept] == [encode(requests[n]) for n in (0, 3)]
    for arguments, fault in (
        ((planner, tmp_path), f"{tmp_path} holds no log.mcap"),
        ((tmp_path / "none", *runs), f"there is no planner at {tmp_path / 'none'}"),
        ((planner, *runs, "--count", "0"), "keep at least one request"),
    ):
        done = run("launch/record_requests.py", *arguments)
        assert (done.returncode, fault in done.stderr) == (2, True), done.stderr
