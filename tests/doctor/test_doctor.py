"""Each check of the doctor tells what is wrong, and what mends it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from dualsys import cli
from dualsys.doctor import command, link, machine, packages, rendering, shipped
from dualsys.doctor.finding import Finding, verdict
from dualsys.errors import DualsysError
from kernels.registry import ENGINES

NEEDS = [
    "numpy>=1.26",
    "torch>=2.6; extra == 'torch'",
    "safetensors>=0.5; extra == 'torch'",
    "dualsys[onnx]; extra == 'openvino'",
    "openvino>=2025.0; extra == 'openvino'",
    "ruff==0.17.5; extra == 'dev'",
]


def found_with(**versions: str) -> dict[str, Finding]:
    return {finding.what: finding for finding in packages.packages(NEEDS, versions.get)}


def test_a_missing_extra_is_weak_and_what_everything_needs_is_bad() -> None:
    found = found_with(torch="2.5.1")
    assert found["packages"].verdict == "bad"
    assert found["packages"].remedy == "pip install 'dualsys'"
    assert found["packages, torch"].verdict == "weak"
    assert found["packages, torch"].found == "torch 2.5.1 is not >=2.6; safetensors is missing"
    assert found["packages, torch"].remedy == "pip install 'dualsys[torch]'"
    assert "packages, dev" not in found


def test_versions_in_range_are_good_also_those_of_another_build() -> None:
    found = found_with(numpy="2.0", torch="2.13.0+cpu", safetensors="0.8", openvino="2026.4.1")
    assert {finding.verdict for finding in found.values()} == {"good"}


def test_a_python_out_of_range_is_bad() -> None:
    assert packages.python("3.11.7", ">=3.10,<3.13").verdict == "good"
    old = packages.python("3.9.1", ">=3.10,<3.13")
    assert (old.verdict, old.found) == ("bad", "3.9.1")
    assert ">=3.10" in old.remedy


def test_this_environment_has_what_it_needs() -> None:
    found = {finding.what: finding.verdict for finding in packages.check()}
    assert found["Python"] == found["packages"] == found["packages, sim"] == "good"


@pytest.mark.parametrize(
    ("finding", "wanted"),
    [
        (machine.judged_clock(1, 0.5), "good"),
        (machine.judged_clock(1e7, 0.5), "weak"),
        (machine.judged_clock(1, 500.0), "weak"),
        (machine.judged_stalls([], 5.0), "good"),
        (machine.judged_stalls([(0, 9_000_000)], 5.0), "good"),
        (machine.judged_stalls([(0, 9_000_000), (10**9, 10**9 + 40_000_000)], 5.0), "weak"),
        (machine.judged_disk(Path(), 400.0), "good"),
        (machine.judged_disk(Path(), 5.0), "weak"),
        (link.judged("tcp://ws:7300", "open", 0.08), "good"),
        *(
            (link.judged("tcp://ws:7300", a, 1), "bad")
            for a in ("nobody", "not_allowed", "unkeyed")
        ),
        (rendering.judged_frame("rendering, egl", 35.0, "install"), "good"),
        (rendering.judged_frame("rendering, egl", 0.0, "install"), "weak"),
    ],
)
def test_what_was_measured_is_judged_and_a_remedy_given(finding: Finding, wanted: str) -> None:
    assert finding.verdict == wanted
    assert bool(finding.remedy) == (wanted != "good")


def test_the_machines_own_checks_find_something() -> None:
    told = [machine.processor(), machine.gpu(), machine.clock(5), machine.stalls(0.05)]
    told += machine.scheduler() + machine.sockets()
    assert all(finding.found for finding in told)
    assert all(finding.remedy for finding in told if finding.verdict != "good")
    links = {finding.what: finding.verdict for finding in told}
    assert links["ipc sockets"] == links["loopback"] == "good"


def test_asking_for_real_time_priority_leaves_none_behind() -> None:
    before = os.sched_getscheduler(0)
    assert machine.real_time_allowed() in (True, False)
    assert os.sched_getscheduler(0) == before


def test_the_disk_is_that_of_the_nearest_folder_there_is(tmp_path: Path) -> None:
    found = machine.disk(tmp_path / "runs" / "mine", 1)
    assert str(tmp_path) in found.found
    assert "MB/s" in found.found
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_nothing_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*words: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", full)
    found = machine.disk(tmp_path, 1)
    assert found.verdict == "bad"
    assert "No space left on device" in found.found


def test_a_frame_is_rendered_here() -> None:
    found = rendering.backend(os.environ.get("MUJOCO_GL", "egl"))
    assert found.verdict == "good", found.found


def test_a_backend_that_is_none_ends_in_a_remedy_and_not_in_a_crash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rendering, "BACKENDS", {"crayons": "buy some"})
    one, lost = rendering.check()
    assert (one.verdict, one.remedy) == ("weak", "buy some")
    assert "crayons" in one.found
    assert lost.verdict == "bad"


def test_shipped_weights_fit_their_worlds() -> None:
    found = shipped.weights()
    assert len(found) == 4
    assert {finding.verdict for finding in found} == {"good"}


def test_damaged_and_missing_weights_are_named(tmp_path: Path) -> None:
    for name in ("driving", "manipulation"):
        shutil.copytree(shipped.WEIGHTS / name, tmp_path / name)
    (tmp_path / "driving/card.json").write_text("{")
    found = {finding.what: finding for finding in shipped.weights(tmp_path)}
    assert "card.json is not a System-1 model card" in found["weights, driving"].found
    assert found["weights, manipulation"].verdict == "good"
    assert found["weights, driving-planner"].verdict == "bad"


def test_every_engine_is_tried_and_torch_agrees_with_itself() -> None:
    found = {finding.what.removeprefix("engine "): finding for finding in shipped.engines()}
    assert tuple(found) == ENGINES
    assert found["torch"].verdict == "good"
    assert all(finding.remedy for finding in found.values() if finding.verdict != "good")


def test_a_check_that_fails_itself_is_a_finding() -> None:
    def broken() -> Finding:
        raise DualsysError("nobody knows")

    begun: list[str] = []
    first, second = command.findings(
        {"broken": broken, "whole": lambda: [Finding("whole", "good", "it is")]}, begun.append
    )
    assert begun == ["broken", "whole"]
    assert (first.verdict, second.verdict) == ("bad", "good")
    assert "nobody knows" in first.found
    assert verdict([second]) == "good"
    assert verdict([first, second]) == "bad"


@pytest.mark.parametrize(("worst", "code"), [("good", 0), ("weak", 0), ("bad", 1)])
def test_the_exit_code_tells_the_worst(
    worst: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    remedy = "pip install 'dualsys[sim]'"
    only = {"one": lambda: Finding("one", worst, "seen", remedy)}  # type: ignore[arg-type]
    monkeypatch.setattr(command, "checks", lambda config: only)
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor"])
    assert ended.value.code == code
    shown = capsys.readouterr().out
    assert worst in shown
    assert remedy in shown


@pytest.mark.parametrize("word", ["watch_s=0", "disk_mb=-1", "watch_s=nan"])
def test_times_and_sizes_that_are_none_are_refused(
    word: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor", word])
    assert ended.value.code == 2
    assert f"{word.partition('=')[0]} can be " in capfd.readouterr().err


def test_a_link_is_tried_where_one_is_named() -> None:
    local = {"requests": "", "client_keys": ""}
    assert link.check(local) == []
    with pytest.raises(DualsysError, match="no keys are given"):
        link.check({**local, "requests": "tcp://10.0.0.9:7300"})


def test_every_check_is_in_the_table() -> None:
    names = list(command.checks({"watch_s": 1.0, "disk_mb": 1, "out": "runs"}))
    assert names == ["packages", "processor", "GPU", "clock", "scheduler", "stalls", "sockets",
                     "link", "disk", "rendering", "weights", "engines"]  # fmt: skip
