"""`--json`: standard output is one JSON document and nothing else, whatever the command."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest

from dualsys import cli, commands
from dualsys.console import answered, for_programs, table_console


def document(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[Any, int]:
    """What a command writes to standard output, read, and its exit code."""
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, "--json"])
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return json.loads(out), int(ended.value.code or 0)


def test_a_run_is_its_results_file(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["eval", "scenario=driving/merge", "system2=scripted", "seeds=0:1", "--json"]
    words += [f"system1.checkpoint={untrained}", "runtime.episode_s=2", f"out={tmp_path}"]
    found, code = document(words, capsys)
    assert (code, found) == (0, json.loads((tmp_path / "results.json").read_text()))


def test_what_was_thought_is_told(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    thoughts, _ = document(["thoughts", f"run={run_folder}", "epoch=0"], capsys)
    one, _ = document(["thoughts", f"run={run_folder}", "epoch=0", "tick=20"], capsys)
    assert one in thoughts
    assert one["asked"]["at_tick"] <= 20
    assert one["said"]["plan"] in ("keep", "follow", "left", "right", "slower", "faster", "stop")


def test_a_replay_a_report_and_keys_are_told(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, code = document(["replay", str(run_folder), "system=1"], capsys)
    assert (code, found["beyond"]) == (0, 0)
    assert found["answers"] == found["equal"] > 0
    page = tmp_path / "report.html"
    assert document(["report", str(run_folder), f"out={page}"], capsys) == ({"page": str(page)}, 0)
    keys, _ = document(["keys", "clients=[robot]", f"out={tmp_path / 'keys'}"], capsys)
    assert all(Path(made).is_file() for made in keys["made"])


def test_an_error_is_a_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    found, code = document(["eval", "scenario=driving/nowhere"], capsys)
    assert code == 2
    assert "unknown scenario 'driving/nowhere'" in found["error"]


def test_without_it_tables_go_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    answered({"a": 1})
    table_console().print("a table")
    with for_programs(True):
        table_console().print("aside")
        answered({"value": float("nan")})
    assert capsys.readouterr() == ('a table\n{"value":null}\n', "aside\n")


@pytest.mark.parametrize("name", commands.RUN)
def test_no_command_forgets_to_answer(name: str) -> None:
    """Read off its source: to run them all would take hours. Some hand on to a function."""
    run = commands.RUN[name]
    body = inspect.getsource(run)
    hands_on = re.search(r"return (_\w+|command\.\w+)\(", body)
    serves = name.startswith("serve ")  # until it is told to end: there is nothing to answer
    assert "answered(" in body or hands_on or serves
