"""`dualsys build`: engines are made and compared; one that drives worse is never used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from dualsys import cli
from dualsys.bench.building import build, worse
from dualsys.bench.rig import rig
from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.runtime import engines
from sim import registry


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUALSYS_CACHE", str(tmp_path / "cache"))
    engines._engine.cache_clear()  # of tests before, in this process


def words(untrained: Path, out: Path, *more: str) -> list[str]:
    return ["scenario=driving/merge", f"system1.checkpoint={untrained}", f"out={out}", *more]


def run(words: list[str]) -> dict[str, Any]:
    return build(load("build", words), lambda name: None, lambda name, count, total: None)


def test_all_engines_of_the_list_are_built_and_told(untrained: Path, tmp_path: Path) -> None:
    names = "engine.names=[torch-fused,openvino,onnxruntime,torch]"
    report = run(words(untrained, tmp_path, names))
    rows = report["engines"]
    assert list(rows) == ["torch-fused", "openvino", "onnxruntime", "torch"]
    assert rows["onnxruntime"]["refused"] is None
    assert rows["onnxruntime"]["outputs"]["chunk"]["cosine"] > 0.99999
    axes = rows["onnxruntime"]["axes"]
    assert {axis["unit"] for axis in axes.values()} == {"m/s2", "rad"}
    assert all(axis["error"] < 1e-3 * axis["range"] for axis in axes.values())
    assert rows["onnxruntime"]["size_bytes"] > 1000
    assert msgspec.json.decode((tmp_path / "build.json").read_bytes())["engines"] == rows


def test_the_command_prints_a_table_and_what_was_refused(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["build", *words(untrained, tmp_path, "engine.names=[onnxruntime,torch]")])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "compared with torch on 4 random inputs" in shown
    assert "m/s2" in shown
    with pytest.raises(SystemExit) as ended:
        cli.main(["build", *words(untrained, tmp_path, "engine.names=[torch]")])
    assert ended.value.code == 1, "nothing but the reference is usable"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("verify=fully", "unknown verify 'fully'. Did you mean 'full'"),
        ("engine.names=[tensort]", "unknown engine 'tensort'"),
        ("suite=nowhere", "unknown suite 'nowhere'"),
        ("scenario=driving/merg", "Did you mean 'driving/merge'"),
        ("system1.samples=0", "system1.samples can be 1 or more, it is 0"),
    ],
)
def test_wrong_words_are_one_clear_line(
    word: str, said: str, untrained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["build", *words(untrained, tmp_path), word])
    assert ended.value.code == 2
    assert said in capfd.readouterr().err


def test_full_verification_drives_with_every_engine(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.SUITES, "small", ("driving/merge",))
    more = ["engine.names=[onnxruntime,torch]", "verify=full", "suite=small", "seeds=0:2"]
    loop = run(words(untrained, tmp_path, *more))["closed_loop"]
    assert loop["episodes"] == 2
    assert loop["success"].keys() == {"torch", "onnxruntime"}
    assert loop["compared"]["onnxruntime"]["pairs"] == 2
    assert (tmp_path / "closed_loop" / "bench.json").is_file()


def found(mean: float, low: float, high: float) -> dict[str, Any]:
    return {"mean": mean, "ci95": [low, high]}


def test_only_an_interval_below_zero_condemns() -> None:
    engines = {"a": found(-0.1, -0.2, -0.01), "b": found(-0.1, -0.2, 0.0), "c": found(0.2, 0.1, 1)}
    said = worse({"episodes": 200, "compared": engines})
    assert said == {
        "a": "in 200 paired episodes success is 10.0% lower than torch's (-20.0% .. -1.0%)"
    }


def test_a_condemned_engine_runs_nowhere_until_it_is_built_anew(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.SUITES, "small", ("driving/merge",))
    monkeypatch.setattr("dualsys.bench.building.worse", lambda loop: {"onnxruntime": "drives ill"})
    more = ["engine.names=[onnxruntime,torch]", "verify=full", "suite=small", "seeds=0:1"]
    report = run(words(untrained, tmp_path, *more))
    assert report["engines"]["onnxruntime"]["refused"] == "drives ill"

    def used(names: str) -> dict[str, Any]:
        config = load(
            "eval", [*words(untrained, tmp_path, "system2=none"), f"engine.names={names}"]
        )
        with rig(config, "driving/merge") as driven:
            return driven.engine

    assert used("[onnxruntime,torch]")["refused"] == {"onnxruntime": "drives ill"}
    with pytest.raises(DualsysError, match="drives ill"):
        used("[onnxruntime]")
    run(words(untrained, tmp_path, "engine.names=[onnxruntime,torch]"))
    assert used("[torch,onnxruntime]")["used"] == "torch"


def test_engines_of_system_2_are_built_part_by_part(
    untrained: Path, planner_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = "engine.names=[onnxruntime,tensorrt,torch]"
    planner = ["system2=vlm", f"system2.checkpoint={planner_folder}"]
    with pytest.raises(SystemExit) as ended:
        cli.main(["build", *words(untrained, tmp_path, names, *planner)])
    assert ended.value.code == 0
    report = msgspec.json.decode((tmp_path / "build.json").read_bytes())["system2"]
    assert report["checked_on"] == "4 random inputs"
    parts = report["engines"]["onnxruntime"]
    assert list(parts) == ["vision", "reading", "readout"], "no candidates are asked for"
    for row in parts.values():
        assert row["refused"] is None
        assert min(output["cosine"] for output in row["outputs"].values()) > 0.99999
        assert row["size_bytes"] > 1000
    assert all(row["refused"] for row in report["engines"]["tensorrt"].values())
    shown = capsys.readouterr().out
    assert "System 2's parts, compared with torch" in shown
    assert "tensorrt, readout: " in shown
