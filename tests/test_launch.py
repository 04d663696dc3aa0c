"""The scripts in launch/: what they print is what the files hold, and a wrong file is refused."""

from __future__ import annotations

import json
import math
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from rich.console import Console

from dualsys.errors import DualsysError
from dualsys.messages import Guidance
from dualsys.runtime.probe import requests_of
from dualsys.runtime.results import SCHEMA, summary
from dualsys.system1.checkpoint import load_card
from dualsys.whatif.call_trials import CallTrial
from sim import registry

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted((ROOT / "launch").glob("*.sh"))


def run(*words: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(str(word) for word in words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def results(checkpoint: str = "auto") -> dict[str, Any]:
    row = {"completed": True, "collision": False, "return": 1.0, "steps": 10, "jerk": 0.1,
           "seam_jump": 0.0, "calls": 2, "fallback_ticks": 1}  # fmt: skip
    rows = [{**row, "success": seed != 3} for seed in range(4)]
    found = summary(rows)
    return {
        "schema": SCHEMA,
        "scenario": "driving/merge",
        "runtime": "lockstep",
        "config": {"system1": {"checkpoint": checkpoint}, "system2": {"checkpoint": checkpoint}},
        "system1": {"checkpoint": checkpoint},
        "system2": {"name": "scripted"},
        "latency": {"name": "fixed"},
        "summary": {**found, "by_scenario": {"driving/merge": found}},
        "ticks": {"total": 40, "missed": 0, "stalls": 0},
        "timing": {"system1_pass": {"p50_ms": 2.5, "p99_ms": 4.0}},
    }


def test_the_table_prints_what_the_file_holds(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(results()))
    done = run("launch/results_table.py", "--markdown", tmp_path / "results.json")
    assert done.returncode == 0, done.stderr
    row = done.stdout.splitlines()[2]
    assert "| driving/merge | lockstep | scripted | 4 | 75.0% |" in row
    assert "2.50 / 4.00" in row


def test_a_table_of_answers_has_a_row_for_every_question(tmp_path: Path) -> None:
    right = {"token_accuracy": 0.9, "answer_accuracy": 0.5, "most_frequent": 0.4}
    right |= {"token_accuracy_ci95": [0.8, 0.95], "answer_accuracy_ci95": [0.25, 0.75]}
    right |= {"balanced_accuracy": 0.3, "answers_seen": 5}
    score = {"schema": "dualsys-planner-score/2", "ticks": 60, "episodes": 7}
    score |= {"config": {"planner": "runs/one"}, "questions": {"hazard": right, "plan": right}}
    (tmp_path / "score.json").write_text(json.dumps(score))
    done = run("launch/results_table.py", "--markdown", tmp_path / "score.json")
    assert done.returncode == 0, done.stderr
    wanted = "90.0%, 80.0% .. 95.0% | 50.0%, 25.0% .. 75.0% | 40.0% | 30.0% | 20.0% |"
    for row, name in zip(done.stdout.splitlines()[2:], ("hazard", "plan"), strict=True):
        assert row == f"| runs/one | 60 of 7 | {name} | {wanted}"
    (tmp_path / "results.json").write_text(json.dumps(results()))
    mixed = run("launch/results_table.py", tmp_path / "score.json", tmp_path / "results.json")
    assert mixed.returncode == 2
    assert "make a table of each kind" in mixed.stderr


@pytest.mark.parametrize("text", ["", "{}", '{"schema": "other/1"}'])
def test_a_file_that_holds_no_results_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    done = run("launch/results_table.py", tmp_path / "results.json")
    assert done.returncode == 2
    assert "results.json" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, into which weights are shipped."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(
        ROOT / "dualsys", folder / "dualsys", ignore=shutil.ignore_patterns("*.pyc", "weights")
    )
    for name in ("kernels", "conf"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


def ship(package: Path, *words: object) -> subprocess.CompletedProcess[str]:
    script = "import sys, runpy; sys.path.insert(0, '.'); sys.argv = sys.argv[1:]; \
        runpy.run_path(sys.argv[0], run_name='__main__')"
    return run("-c", script, ROOT / "launch/ship_weights.py", *words, cwd=package)


def test_weights_are_shipped_with_the_scores_of_their_own_runs(
    untrained: Path, package: Path, tmp_path: Path
) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps(results(str(untrained))))
    done = ship(package, untrained, file)
    assert done.returncode == 0, done.stderr
    card = load_card(package / "dualsys/weights/driving")
    assert card.scores["driving/merge"]["success_rate"] == 0.75
    assert msgspec.structs.replace(card, scores={}) == load_card(untrained)
    file.write_text(json.dumps(results("runs/another")))
    refused = ship(package, untrained, file)
    assert refused.returncode == 2
    assert "runs/another" in refused.stderr


def test_a_planner_is_shipped_whole_with_its_answers(
    planner_folder: Path, package: Path, tmp_path: Path
) -> None:
    from dualsys.system2 import checkpoint

    (tmp_path / "run.json").write_text(json.dumps(results(str(planner_folder))))
    score = {"questions": {"plan": {"answer_accuracy": 0.5}}, "candidate_rmse": [1.0],
             "bits_measured": 3.0, "ticks": 7}  # fmt: skip
    score["config"] = {"planner": str(planner_folder)}
    (tmp_path / "score.json").write_text(json.dumps(score))
    done = ship(package, planner_folder, tmp_path / "run.json", tmp_path / "score.json")
    assert done.returncode == 0, done.stderr
    shipped = checkpoint.load(package / "dualsys/weights/driving-planner")
    assert shipped.card.scores["answers"]["questions"]["plan"]["answer_accuracy"] == 0.5
    assert shipped.card.scores["driving/merge"]["success_rate"] == 0.75
    assert shipped.card.model["sizes"]["text_width"] == 16, "read off the weights"
    assert (
        shipped.heads.state_dict().keys()
        == checkpoint.load(planner_folder).heads.state_dict().keys()
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_shell_script_parses(script: Path) -> None:
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_thinking_is_timed_under_every_budget(planner_folder: Path, tmp_path: Path) -> None:
    words = ["--checkpoint", planner_folder, "--thoughts", "6", "--rounds", "3"]
    done = run("launch/think_time.py", "driving/merge", *words, "--out", tmp_path / "time.json")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "time.json").read_text())
    found = report["scenarios"]["driving/merge"]
    for budget in ("none", "short", "full"):
        assert 0 < found[budget]["first"]["p50_ms"] <= found[budget]["whole"]["p50_ms"]
    assert found["candidates"]["ratio"] > 0
    assert found["memory_mib"] > 50
    assert "ratio" in done.stdout


def test_values_are_checked_against_what_came(thinking_run: Path, tmp_path: Path) -> None:
    words = ["--states", "2", "--workers", "1", "--horizon-s", "1"]
    done = run("launch/value_check.py", thinking_run, *words, "--out", tmp_path / "values.json")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "values.json").read_text())
    assert report["rankings"]["driving/merge"]["states"] == 2
    for values, returns in report["pairs"]["driving/merge"]:
        assert len(values) == len(returns) == 5
        assert max(returns) > 0
    assert len(report["alone"]["driving/merge"]) == 2
    (told,) = report["runs"]
    assert told["scenario"] == "driving/merge"
    assert told["config"]["system2"]["name"] == "vlm"
    assert any(word.startswith("system2.checkpoint=") for word in told["contents"])
    assert "driving/merge" in done.stdout


def test_a_run_without_values_cannot_be_checked(run_folder: Path) -> None:
    done = run("launch/value_check.py", run_folder)
    assert done.returncode == 2
    assert "holds no valued thought" in done.stderr


def test_candidates_are_tried_and_become_data(thinking_run: Path, tmp_path: Path) -> None:
    words = ["--states", "1", "--workers", "1", "--out", tmp_path / "trials"]
    done = run("launch/try_candidates.py", thinking_run, *words)
    assert done.returncode == 0, done.stderr
    info = json.loads((tmp_path / "trials" / "meta" / "info.json").read_text())
    assert info["total_episodes"] == 5


def test_a_run_without_candidates_has_none_to_try(run_folder: Path, tmp_path: Path) -> None:
    done = run("launch/try_candidates.py", run_folder, "--out", tmp_path)
    assert done.returncode == 2
    assert "holds no valued thought" in done.stderr


def test_plans_are_tried_in_datasets_only(tmp_path: Path) -> None:
    done = run("launch/try_plans.py", tmp_path)
    assert done.returncode == 2
    assert "no dataset at" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupted_planner_keeps_its_thoughts_apart(
    planner_folder: Path, tmp_path: Path
) -> None:
    words = ["driving/merge", "--requests", "15", f"system2.checkpoint={planner_folder}"]
    words += ["system2.candidates=2", "system2.budget=full", "--out", str(tmp_path / "found.json")]
    done = run("launch/interrupt_check.py", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "found.json").read_text())
    assert report["faults"] == {}
    assert report["guidances"] >= report["requests_with_guidance"] > 0
    assert set(report["contents"]) == {
        f"system2.checkpoint={planner_folder}",
        "system1.driver=network system1.checkpoint=auto",
    }


def test_a_guidance_of_another_request_is_found_out() -> None:
    script = runpy.run_path(str(ROOT / "launch/interrupt_check.py"))
    (request,) = requests_of("driving/merge", 1, session=script["SESSION"])
    stamp = request.stamp
    empty = np.zeros((0, 2), np.float32)
    honest = Guidance(stamp, 1, 0, np.zeros(0, np.float32), empty, math.nan, True, 0, "plan: x")
    spec = registry.spec_of("driving/merge")
    assert script["faults"](spec, request, honest) == []
    assert script["faults"](spec, None, honest) == ["foreign_request"]
    other = msgspec.structs.replace(stamp, tick=stamp.tick + 1)
    leaked = msgspec.structs.replace(honest, stamp=other)
    assert script["faults"](spec, request, leaked) == ["foreign_request"]
    chunk = np.zeros((4, 2), np.float32)
    unvalued = msgspec.structs.replace(honest, candidate=chunk)
    assert script["faults"](spec, request, unvalued) == ["value_not_finite"]
    assert script["same"](honest, honest)
    assert not script["same"](honest, msgspec.structs.replace(honest, plan=1))


def test_the_long_tail_is_driven_by_three_drivers(tmp_path: Path) -> None:
    words = ["--seeds", "0:1", "--difficulty", "0.5", "--out", str(tmp_path / "found.json")]
    done = run("launch/solvable.py", *words)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "found.json").read_text())
    found = told["scenarios"]
    assert len(found) == len(registry.suite("longtail"))
    row = found["driving/cut_in@0.5"]
    assert row["holds on"]["collision_rate"] == 1.0
    assert row["search"]["success_rate"] == 1.0
    assert told["solvable"]
    assert told["least_solved"]["0.5"]["success_rate"] == 1.0
    assert "at least 100% of every kind" in done.stdout
    wrong = run("launch/solvable.py", "--difficulty", "3")
    assert wrong.returncode == 2
    assert "number from 0 to 1" in wrong.stderr


def test_a_kind_that_is_solved_too_seldom_makes_the_long_tail_not_solvable(
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = runpy.run_path(str(ROOT / "launch/solvable.py"))

    def shares(cut_in: float) -> dict[str, Any]:
        told = {"cut_in@0.5": 0.9, "merge@0.5": 1.0, "cut_in@1.0": cut_in, "merge@1.0": 0.95}
        return {f"driving/{name}": {"search": {"success_rate": s}} for name, s in told.items()}

    assert script["say"](script["least_solved"](shares(0.9)))
    least = script["least_solved"](shares(0.85))
    assert least["1.0"] == {"kind": "cut_in", "success_rate": 0.85}
    assert not script["say"](least)
    assert "difficulty 1.0: the search solves at least 85%" in capsys.readouterr().out


def test_calls_of_runs_of_one_kind_are_tried_together_and_of_others_not(tmp_path: Path) -> None:
    of_one_kind = runpy.run_path(str(ROOT / "launch/try_calls.py"))["of_one_kind"]
    kind = {"system1": {"samples": 4}, "system2": {"name": "vlm"}, "latency": {"name": "none"}}
    told = {
        "never": kind | {"trigger": {"name": "never"}},
        "random": kind | {"trigger": {"name": "random"}},
        "more": kind | {"system1": {"samples": 8}},
        "scripted": kind | {"system2": {"name": "scripted", "budget": "short"}},
        "late": kind | {"latency": {"name": "ticks"}},
    }
    for name, config in told.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps({"config": config}))
    never, random = tmp_path / "never", tmp_path / "random"
    assert of_one_kind([never, random]) == [told["never"], told["random"]]
    for name, words in (
        ("more", r"\(system1.samples=4 and 8\)"),
        ("scripted", r"\(system2.budget=None and short; system2.name=vlm and scripted\)"),
        ("late", r"\(latency.name=none and ticks\)"),
    ):
        both = f"{never} and {tmp_path / name} are runs of different kinds {words}; write one file"
        with pytest.raises(DualsysError, match=both):
            of_one_kind([never, random, tmp_path / name])
    with pytest.raises(DualsysError, match="not the folder of a run"):
        of_one_kind([never, tmp_path / "nothing"])


def test_what_calls_are_worth_is_printed_within_a_hundred_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = runpy.run_path(str(ROOT / "launch/try_calls.py"))
    where = "driving/emergency_behind@0.8"
    trials = [
        CallTrial(where, seed, 3, True, [0.0], 0.5, 0.5 + 0.1 * seed, False, False)
        for seed in range(4)
    ]
    monkeypatch.setitem(script["show"].__globals__, "table_console", lambda: Console(width=100))
    script["show"](trials)
    said = capsys.readouterr().out
    assert "…" not in said, "nothing is cut off"
    assert where in said
    assert "75.0%" in said
