"""The checks in launch/: of times, values, interruptions, tried calls, candidates and plans."""

from __future__ import annotations

import json
import math
import runpy
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from highway_env.road.road import Road
from rich.console import Console

from dualsys.errors import DualsysError
from dualsys.messages import Guidance
from dualsys.runtime.probe import requests_of
from dualsys.whatif.call_trials import CallTrial
from sim import registry
from sim.driving import fast_road
from tests.scripts import ROOT, run


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


def test_reused_picture_features_are_held_against_fresh_ones(
    untrained: Path, tmp_path: Path
) -> None:
    words = ["--scenarios", "driving/merge", "--episode-s", "1.5", "--engines", "torch"]
    out = ["--rounds", "2", "--out", tmp_path / "reuse.json", "system2=none"]
    done = run("launch/reuse_check.py", untrained, *words, *out)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "reuse.json").read_text())
    shares = [row["reused"] for row in report["thresholds"]]
    assert shares == sorted(shares)
    assert 0 < shares[-1] < 1
    assert all(
        row["error"]["worst"] >= row["error"]["rms"]
        for row in report["thresholds"]
        if row["reused"]
    )
    assert set(report["anyhow"]) == {"4 steps, not 10", "products in float16"}
    assert report["times"]["engines"]["torch"]["share"] > 0
    assert "passes; change" in done.stdout


def test_features_are_held_while_pictures_stay_near_the_one_that_was_encoded() -> None:
    script = runpy.run_path(str(ROOT / "launch/reuse_check.py"))
    asked = [
        {"image_eye": np.full((1, 2, 2, 3), level, np.uint8), "state": np.zeros(1)}
        for level in (10, 11, 12, 13, 200)
    ]
    assert script["held"](asked, 0.0) == [0, 1, 2, 3, 4]
    assert script["held"](asked, 2 / 255) == [0, 0, 0, 3, 4], "of the encoded one, not the last"
    assert script["change"](asked[4], asked[0]) == pytest.approx(190 / 255)
    assert script["change"](asked[0], asked[4]) == pytest.approx(190 / 255), "no wrap-around"


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


def test_both_roads_are_timed_and_another_drive_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = runpy.run_path(str(ROOT / "launch/sim_speed.py"))
    row = script["compared"]("driving/merge", [0], 12)
    assert row["equal"]
    assert row["ticks"] == 12
    assert row["physics_ms"]["here"] < row["tick_ms"]["here"]

    class Other(fast_road.FastRoad):
        def step(self, dt: float) -> None:
            super().step(1.1 * dt)

    monkeypatch.setitem(fast_road.FAST, Road, Other)
    monkeypatch.setattr("sys.argv", [
        "sim_speed.py", "--suites", "driving", "--seeds", "0", "--ticks", "3",
        "--out", str(tmp_path / "speed.json"),
    ])  # fmt: skip
    assert script["main"]() == 1
    told = json.loads((tmp_path / "speed.json").read_text())["scenarios"]
    assert not told["driving/merge"]["equal"]
    assert told["driving/intersection"]["equal"], "its road is of another class"
    assert "NO" in capsys.readouterr().out


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


def test_calls_of_evaluations_seeds_teach_nobody() -> None:
    teachable = runpy.run_path(str(ROOT / "launch/try_calls.py"))["teachable"]
    learned = CallTrial("driving/merge", 1_000_000, 3, True, [1.0], 0.5, 0.6, False, False)
    judged = msgspec.structs.replace(learned, seed=7)
    assert teachable([learned]) == [learned]
    assert [trial.features for trial in teachable([learned, judged])] == [[], []]


def test_a_run_is_repeated_by_other_workers_and_a_difference_is_told(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "repeated"
    words = [f"system1.checkpoint={untrained}", "system2=scripted", "runtime.episode_s=0.5"]
    asked = ["eval", "scenario=driving/merge", "seeds=0:3", *words, "--out", str(out)]
    done = run("launch/repeat_check.py", *asked)
    assert done.returncode == 0, done.stderr
    found = json.loads((out / "repeat.json").read_text())
    assert found["equal"]
    assert [row["by"] for row in found["runs"]] == ["1 worker", "2 workers"]
    assert found["runs"][0]["bytes"] == (out / "workers1" / "log.mcap").stat().st_size > 0
    again = run("launch/repeat_check.py", *asked)
    assert again.returncode == 2
    assert "is not empty" in again.stderr
    script = runpy.run_path(str(ROOT / "launch/repeat_check.py"))

    def benched(words: list[str], workers: int, out: Path) -> Path:
        out.mkdir(parents=True)
        (out / "bench.json").write_text(str(workers))
        return out / "bench.json"

    monkeypatch.setitem(script["repeated"].__globals__, "benched", benched)
    other = ["repeat_check.py", "--out", str(tmp_path / "other"), "bench", "suite=driving"]
    monkeypatch.setattr("sys.argv", other)
    assert script["main"]() == 1
    assert not json.loads((tmp_path / "other" / "repeat.json").read_text())["equal"]


def test_lateness_is_compared_with_its_interval() -> None:
    compared = runpy.run_path(str(ROOT / "launch/lateness_check.py"))["compared"]
    rng = np.random.default_rng(0)
    idle = [rng.gamma(4.0, 1.0, 500) for _ in range(2)]
    same = compared({"idle": idle, "busy": [rng.gamma(4.0, 1.0, 1000)]}, rng)
    low, high = same["ratio_p99"]["ci95"]
    assert low < 1 < high
    twice = compared({"idle": idle, "busy": [2 * part for part in idle]}, rng)
    assert twice["ratio_p50"]["ratio"] == pytest.approx(2)
    assert twice["ratio_p99"]["ratio"] == pytest.approx(2)
    assert twice["busy"]["p99"] == pytest.approx(2 * twice["idle"]["p99"])
    assert twice["ratio_p99"]["ci95"][0] > 1.2


@pytest.mark.rendering
@pytest.mark.timeout(300)
def test_lateness_is_measured_with_a_planner_idle_and_busy(tmp_path: Path) -> None:
    words = ["--rounds", "1", "--duration-s", "4", "--out", tmp_path / "late.json"]
    done = run("launch/lateness_check.py", *words)
    assert done.returncode in (0, 1), done.stderr  # which one is the machine's business
    report = json.loads((tmp_path / "late.json").read_text())
    idle, busy = report["runs"]
    assert idle["mode"] == "idle"
    assert busy["mode"] == "busy"
    assert idle["calls"] <= 1 < busy["calls"]
    assert min(row["kept"] for row in report["runs"]) > 10
