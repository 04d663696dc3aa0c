"""`dualsys bench-engine`: pass, tick and stages of every engine, beside torch."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from dualsys import cli


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


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("engine.names=[tensort]", "unknown engine 'tensort'"),
        ("rounds=0", "rounds=0: at least one round is needed"),
        ("warm_up=0", "warm_up=0: at least one"),
        ("threads=[]", "threads=[]: give a list of numbers from 1 on"),
        ("samples=[0]", "samples=[0]: give a list"),
        ("scenario=driving/merg", "Did you mean 'driving/merge'"),
    ],
)
def test_wrong_words_are_one_clear_line(
    word: str, said: str, untrained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*words(untrained, tmp_path), word])
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
