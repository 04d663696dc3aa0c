"""`dualsys bench-engine`: pass, tick and stages of every engine, beside torch."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from dualsys import cli
from dualsys.bench.depth_bench import off
from dualsys.bench.engine_bench import ticks_of
from dualsys.messages import Observation
from kernels.timing import take_turns


def words(untrained: Path, out: Path, *more: str) -> list[str]:
    return ["bench-engine", "scenario=driving/merge", f"system1.checkpoint={untrained}",
            f"out={out}", *more]  # fmt: skip


def test_engines_are_timed_beside_torch(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["engine.names=[onnxruntime,torch-fused]", "rounds=4", "warm_up=1", "threads=[1]"]
    with pytest.raises(SystemExit) as ended:
        cli.main(words(untrained, tmp_path, *more, "samples=[1,3]"))
    assert ended.value.code == 0
    report = msgspec.json.decode((tmp_path / "engines.json").read_bytes())
    assert [table["samples"] for table in report["tables"]] == [1, 3]
    for table in report["tables"]:
        assert list(table["engines"]) == ["torch", "onnxruntime"], "the reference is always there"
        assert "torch-fused" in table["refused"]
        for rows in table["engines"].values():
            assert list(rows) == ["pass", "tick", "preprocess", "encode", "flow"]
            assert all(row["rounds"] == 4 and row["p50_ms"] > 0 for row in rows.values())
        assert table["engines"]["torch"]["pass"]["times_faster"] == 1.0
    assert (tmp_path / "engines.png").read_bytes()[:4] == b"\x89PNG"
    shown = capsys.readouterr().out
    assert "1 thread(s), 3 sample(s)" in shown
    assert "machine stalls meanwhile" in shown


class Ticks:
    """A policy that only notes which ticks it was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def act(self, observation: Observation, guidance: None, now_ns: int) -> None:
        self.asked.append(observation.stamp.tick)


def test_no_tick_comes_twice_though_a_round_may() -> None:
    policy = Ticks()
    inputs = [{"image_top": np.zeros((1, 2, 2, 3), np.uint8), "state": np.zeros((1, 3))}]
    work = ticks_of(policy, inputs)  # type: ignore[arg-type]
    take_turns({"tick": work}, 3, 1, caches="warm")
    assert policy.asked == list(range(8))


def test_every_effort_is_timed_and_held_against_the_true_flow(
    layered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["depth=true", "engine.names=[torch-fused]", "rounds=3", "warm_up=1", "threads=[1]"]
    with pytest.raises(SystemExit) as ended:
        cli.main([*words(layered, tmp_path, *more, "samples=[2]"), "system1.depth_steps=[1,4,10]"])
    assert ended.value.code == 0
    report = msgspec.json.decode((tmp_path / "depth.json").read_bytes())
    (table,) = report["tables"]
    assert list(table["engines"]) == ["torch"], "the reference is always there"
    assert "torch-fused" in table["refused"]
    rows = table["engines"]["torch"]
    assert list(rows) == ["own", "1x1", "4x1", "10x1", "1x2", "4x2", "10x2"]
    assert all(row["pass"]["rounds"] == 3 and row["pass"]["p50_ms"] > 0 for row in rows.values())
    assert all(row["to_true"]["worst"] >= row["to_true"]["rms"] for row in rows.values())
    assert rows["10x2"]["to_true"]["rms"] == rows["own"]["to_own"]["rms"] == 0
    assert rows["4x2"]["to_own"]["rms"] < 1e-4, "the network's own steps in parts are its own pass"
    assert rows["1x2"]["to_true"]["rms"] > rows["4x2"]["to_true"]["rms"] > 0
    assert (tmp_path / "depth.png").read_bytes()[:4] == b"\x89PNG"
    shown = capsys.readouterr().out
    assert "10x1" in shown
    assert "machine stalls meanwhile" in shown


def test_without_exits_every_effort_takes_all_blocks(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["depth=true", "engine.names=[torch]", "rounds=1", "warm_up=1", "threads=[1]"]
    with pytest.raises(SystemExit):
        cli.main([*words(untrained, tmp_path, *more, "samples=[1]"), "system1.depth_steps=[1]"])
    report = msgspec.json.decode((tmp_path / "depth.json").read_bytes())
    assert list(report["tables"][0]["engines"]["torch"]) == ["own", "1x1"]
    assert "no early exits at" in capsys.readouterr().out


@pytest.mark.parametrize("committed", [0, 5])
def test_what_is_committed_is_no_error(committed: int) -> None:
    found, wanted = np.zeros((2, 8, 2)), np.zeros((2, 8, 2))
    found[:, :committed] = 9
    found[1, committed:] = [0.2, 0.4]
    inputs = [{"committed_ticks": np.full((1, 1), committed, np.float32)}] * 2
    error = off(found, wanted, inputs, np.array([0.1, 0.2]))
    assert error == pytest.approx({"rms": 2**0.5, "median": 2**0.5, "worst": 2.0})
    assert set(off(wanted, wanted, [{}, {}], np.ones(2)).values()) == {0.0}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("engine.names=[tensort]", "unknown engine 'tensort'"),
        ("rounds=0", "rounds can be 1 or more, it is 0"),
        ("warm_up=0", "warm_up can be 1 or more"),
        ("caches=hot", "unknown state of the caches 'hot'. Valid: cold, warm"),
        ("threads=[]", "threads=[]: give a list of numbers from 1 on"),
        ("samples=[0]", "samples[0] can be 1 or more"),
        ("scenario=driving/merg", "Did you mean 'driving/merge'"),
        ("depth=true planners=[smolvlm-256m]", "give one"),
    ],
)
def test_wrong_words_are_one_clear_line(
    word: str, said: str, untrained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*words(untrained, tmp_path), *word.split()])
    assert ended.value.code == 2
    assert said in capfd.readouterr().err


def test_parts_of_system_2_are_timed_beside_torch(
    untrained: Path, planner_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["engine.names=[onnxruntime,tensorrt]", "rounds=2", "warm_up=1", "threads=[1]",
            "samples=[1]", "planner_rounds=3", "system2=vlm",
            f"system2.checkpoint={planner_folder}"]  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        cli.main(words(untrained, tmp_path, *more))
    assert ended.value.code == 0
    (table,) = msgspec.json.decode((tmp_path / "engines.json").read_bytes())["system2"]
    assert list(table["engines"]) == ["torch", "onnxruntime"]
    for rows in table["engines"].values():
        assert list(rows) == ["vision", "reading", "readout"]
        assert all(row["rounds"] == 3 and row["p50_ms"] > 0 for row in rows.values())
    assert "tensorrt" in table["refused"]
    assert "System 2, 0 candidate(s)" in capsys.readouterr().out
