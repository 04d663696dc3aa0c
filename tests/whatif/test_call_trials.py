from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from dualsys.cli import main
from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.learning.fit_gate import fit_gate, weighed
from dualsys.learning.fit_gate import scores as gate_scores
from dualsys.messages import Action, Guidance, PlanRequest
from dualsys.runtime.log import read_log
from dualsys.trigger.gate import Judged, load_gate
from dualsys.whatif.call_trials import (
    CallTrial,
    load_trials,
    save_trials,
    try_calls,
)
from dualsys.whatif.crossroads import crossroads

JUDGED = Judged("driving", 15.0, ("entropy", "spread", "noise"), "somewhere", "abc", 4, 0.0)
ABOUT: dict[str, Any] = {
    "horizon_s": 4.0,
    "unsure": 0.7,
    "config": {"latency": {"name": "none"}, "system1": {"samples": 4}, "system2": {"name": "vlm"}},
}


def config_of(run: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((run / "results.json").read_text())["config"]
    return found


def test_crossroads_are_the_ticks_that_were_answered(run_folder: Path) -> None:
    log = [m for _, m in read_log(run_folder / "log.mcap")]
    places = crossroads(run_folder, calls_only=False)
    calls = crossroads(run_folder, calls_only=True)
    assert len(places) >= sum(isinstance(m, Action) for m in log) - 2
    assert len(calls) == sum(isinstance(m, PlanRequest) for m in log)
    assert {(c.seed, c.tick) for c in calls} <= {(p.seed, p.tick) for p in places}
    assert all(len(p.commands) == p.tick for p in places)
    told = [m for m in log if isinstance(m, Guidance)]
    assert {p.told.plan for p in places if p.told is not None} <= {g.plan for g in told}
    assert any(p.told is None for p in places), "at first nothing was told"


def test_a_trial_is_the_same_for_any_number_of_workers(run_folder: Path) -> None:
    places = [p for p in crossroads(run_folder, True) if p.told is not None][:2]
    seen: list[int] = []
    trials = try_calls(config_of(run_folder), places, 1.0, 1, seen.append)
    assert sum(seen) == len(trials) == 2
    for trial in trials:
        assert 0 <= trial.without <= 1
        assert 0 <= trial.called_for <= 1
        assert len(trial.features) > 10
        assert np.isfinite(trial.features).all()
    again = try_calls(config_of(run_folder), places, 1.0, 2, seen.append)
    assert again == trials


def test_a_call_outside_driving_is_refused(run_folder: Path) -> None:
    (place, *_) = crossroads(run_folder, True)
    arm = msgspec.structs.replace(place, scenario="manipulation/push")
    with pytest.raises(DualsysError, match=r"not in \['manipulation/push'\]"):
        try_calls(config_of(run_folder), [arm], 1.0, 1, lambda count: None)


def trials(count: int, rng: np.random.Generator) -> list[CallTrial]:
    """Calls gain where the entropy is high, and nothing else matters."""
    found = []
    for n in range(count):
        entropy, spread, noise = (float(v) for v in rng.normal(size=3))
        gain = 0.3 * max(entropy, 0.0) + 0.05 * float(rng.normal())
        found.append(
            CallTrial(
                "driving/merge",
                1_000_000 + n // 5,
                n,
                False,
                [entropy, spread, noise],
                0.5,
                0.5 + gain,
                False,
                False,
            )
        )
    return found


def test_a_gate_learns_where_calls_pay(tmp_path: Path) -> None:
    save_trials(trials(400, np.random.default_rng(0)), JUDGED, tmp_path / "trials.json", ABOUT)
    words = [
        f"data={tmp_path / 'trials.json'}",
        f"out={tmp_path / 'gate'}",
        "cap=1.0",
        "aversion=0",
        "tried_features=1.0",  # of three, two say nothing
    ]
    folder = fit_gate(load("train gate", words), lambda done: None)
    gate = load_gate(folder)
    assert gate.card.judged == JUDGED
    assert gate.card.data["scenarios"] == ["driving/merge"]
    assert gate.card.data["seeds"] == [1_000_000, 1_000_079]
    assert gate.card.data["tried"] == [{"horizon_s": 4.0, "unsure": 0.7, **ABOUT["config"]}]
    assert gate.card.scores["rank_correlation"] > 0.4
    assert gate.card.scores["trials"] == 400, "every trial was held out once"
    first, *_, last = gate.card.scores["first"]
    assert (first["calls"], last["calls"]) == (0.02, 0.2)
    assert first["mean_gain"] > last["mean_gain"] > gate.card.scores["mean_gain"]
    sure, unsure = (gate.gain(np.array([e, 0, 0], np.float32)) for e in (-1.5, 1.5))
    assert sure < 0.1 < 0.3 < unsure


def test_a_drive_that_was_saved_does_not_outweigh_all_others(tmp_path: Path) -> None:
    some = trials(200, np.random.default_rng(0))
    some[7] = msgspec.structs.replace(some[7], called_for=some[7].without + 500.0)
    save_trials(some, JUDGED, tmp_path / "trials.json", ABOUT)
    words = [f"data={tmp_path / 'trials.json'}", f"out={tmp_path / 'gate'}", "cap=0.5"]
    gate = load_gate(fit_gate(load("train gate", words), lambda done: None))
    assert gate.gain(np.array(some[7].features, np.float32)) < 1.0


def test_harm_counts_for_more_than_gain() -> None:
    gains = np.array([0.5, 0.05, 0.0, -0.005, -0.05, -0.5], np.float32)
    found = weighed(gains, 0.2, 0.1)
    np.testing.assert_allclose(found, [0.2, 0.05, 0.0, -0.005, -0.15, -0.3], atol=1e-6)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(weighed(gains, 1.0, 0.0), gains)


def test_what_belongs_to_evaluation_teaches_no_gate(tmp_path: Path) -> None:
    unseen: dict[str, Any] = {"scenario": "driving/wrong_way@0.8"}
    for changed, told in (({"seed": 7}, "got 7 of"), (unseen, "never sees wrong_way")):
        some = trials(30, np.random.default_rng(0))
        some[3] = msgspec.structs.replace(some[3], **changed)
        save_trials(some, JUDGED, tmp_path / "trials.json", ABOUT)
        words = [f"data={tmp_path / 'trials.json'}", f"out={tmp_path / 'gate'}"]
        with pytest.raises(DualsysError, match=told):
            fit_gate(load("train gate", words), lambda done: None)


def test_equal_trials_and_seed_give_an_equal_gate(tmp_path: Path) -> None:
    save_trials(trials(60, np.random.default_rng(1)), JUDGED, tmp_path / "trials.json", ABOUT)
    gains = []
    for name in ("a", "b"):
        words = [f"data={tmp_path / 'trials.json'}", f"out={tmp_path / name}", "trees=5"]
        folder = fit_gate(load("train gate", words), lambda done: None)
        gains.append(load_gate(folder).gain(np.ones(3, np.float32)))
    assert gains[0] == gains[1]


def test_too_few_trials_and_foreign_files_are_refused(tmp_path: Path) -> None:
    save_trials(trials(5, np.random.default_rng(2)), JUDGED, tmp_path / "few.json", ABOUT)
    (tmp_path / "other.json").write_text("{}")
    for file, told in (("few.json", "too few"), ("other.json", "no call trials")):
        with pytest.raises(DualsysError, match=told):
            fit_gate(
                load("train gate", [f"data={tmp_path / file}", f"out={tmp_path / 'g'}"]),
                lambda done: None,
            )
    assert load_trials(tmp_path / "few.json").trials[0].gain != 0
    assert gate_scores(np.zeros(1), np.zeros(1)) == {"trials": 1}


def test_trials_of_several_system_1_teach_no_gate(tmp_path: Path) -> None:
    other = msgspec.structs.replace(JUDGED, weights="def")
    for whose, name in ((JUDGED, "one"), (other, "other")):
        save_trials(trials(30, np.random.default_rng(0)), whose, tmp_path / f"{name}.json", ABOUT)
    files = f"data=[{tmp_path / 'one.json'},{tmp_path / 'other.json'}]"
    with pytest.raises(DualsysError, match=r"one\.json and .*other\.json .* abc there, def here"):
        fit_gate(load("train gate", [files, f"out={tmp_path / 'g'}"]), lambda done: None)


def test_a_gate_for_another_system_1_is_refused_before_anything_runs(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_trials(trials(60, np.random.default_rng(1)), JUDGED, tmp_path / "trials.json", ABOUT)
    words = [f"data={tmp_path / 'trials.json'}", f"out={tmp_path / 'gate'}", "trees=2"]
    folder = fit_gate(load("train gate", words), lambda done: None)
    with pytest.raises(SystemExit) as stopped:
        main(["bench", "scenario=driving/merge", "seeds=0", f"system1.checkpoint={untrained}",
              "trigger=learned", "system2=scripted", f"trigger.gate={folder}",
              "table=exchange", f"out={tmp_path / 'bench'}"])  # fmt: skip
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert f"{folder} and this run are of another weights of System 1: abc there" in error
    assert not (tmp_path / "bench").exists()
