"""The scripts in launch/: what they print is what the files hold, and a wrong file is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dualsys.runtime.results import SCHEMA, summary
from dualsys.system1.checkpoint import load_card
from tests.scripts import ROOT, run

SCRIPTS = sorted((ROOT / "launch").glob("*.sh"))


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
