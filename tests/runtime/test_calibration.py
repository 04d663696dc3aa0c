from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dualsys.cli import main
from dualsys.errors import DualsysError
from dualsys.messages import Action, Outcome, Stamp
from dualsys.runtime.calibration import (
    SHARES,
    EpisodeTicks,
    episodes_of,
    foretelling,
    measured,
)
from dualsys.runtime.log import LogWriter, read_log


def logged(
    to: Path, offroad: Sequence[set[int]], ticks: int = 100, collision: int | None = None
) -> Path:
    """A run of drives at 15 Hz that are off the road at these ticks, and unsure exactly there."""
    rows = [
        {"epoch": epoch, "scenario": "driving/merge", "success": False}
        for epoch in range(len(offroad))
    ]
    to.mkdir()
    config = {"system1": {"spread_weight": 0.0}}
    (to / "results.json").write_text(json.dumps({"episodes": rows, "config": config}))
    with LogWriter(to / "log.mcap", {}) as log:
        for epoch, off in enumerate(offroad):
            for tick in range(ticks):
                stamp = Stamp(1, epoch, tick, tick, tick)
                unsure, commands = float(tick - 1 in off), np.zeros((1, 2), np.float32)
                log.write("action", Action(stamp, tick, commands, tick, unsure, tick, -1, -1, 0))
                metrics = {"offroad": float(tick in off), "collision": float(tick == collision)}
                log.write("outcome", Outcome(stamp, 0.0, False, False, False, metrics))
    return to


def test_a_tick_is_bad_when_the_first_harm_comes_within_two_seconds(tmp_path: Path) -> None:
    run = logged(tmp_path / "run", [set(range(60, 65)) | set(range(80, 90)), set()])
    harmed, safe = episodes_of(run)
    assert np.flatnonzero(harmed.bad).tolist() == list(range(30, 61)), "30 ticks ahead, at 15 Hz"
    assert not safe.bad.any()
    assert len(harmed.ticks) == len(safe.ticks) == 100, "the gate sees all of them"
    assert harmed.foretelling.ticks.tolist() == list(range(61)), "at 60 it was still to come"
    assert len(safe.foretelling.ticks) == 100
    (crashed,) = episodes_of(logged(tmp_path / "crash", [set()], ticks=50, collision=49))
    assert np.flatnonzero(crashed.bad).tolist() == list(range(19, 50))
    assert len(crashed.foretelling.ticks) == 50


def test_who_is_unsure_only_once_off_the_road_foretells_nothing(tmp_path: Path) -> None:
    run = logged(tmp_path / "run", [set(range(40, 100)), set(range(70, 100)), set()])
    found = foretelling(episodes_of(run))
    assert found["auroc"]["entropy"]["auroc"] == 0.5
    assert (found["ticks"], found["bad_ticks"]) == (41 + 71 + 100, 31 + 31)
    assert (found["episodes"], found["failing_episodes"]) == (3, 2)


def test_the_ticks_of_a_real_log_are_told_apart(run_folder: Path) -> None:
    episodes = episodes_of(run_folder)
    assert len(episodes) == 2
    log = [m for _, m in read_log(run_folder / "log.mcap")]
    for epoch, episode in enumerate(episodes):
        answered = [m.stamp.tick for m in log if isinstance(m, Action) and m.stamp.epoch == epoch]
        assert episode.ticks.tolist() == sorted(answered)
        assert np.isfinite(episode.entropy).all()
        assert np.isfinite(episode.spread).all()


def test_an_uncertainty_that_knows_is_told_from_one_that_does_not() -> None:
    rng = np.random.default_rng(0)
    episodes = []
    for _ in range(30):
        bad = np.arange(40) > 30 if rng.random() < 0.5 else np.zeros(40, bool)
        episodes.append(
            EpisodeTicks(bad + rng.normal(0, 0.1, 40), rng.normal(size=40), bad, np.arange(40), 40)
        )
    table = foretelling(episodes)["auroc"]
    assert table["entropy"]["auroc"] > 0.99
    assert table["spread"]["ci95"][0] < 0.5 < table["spread"]["ci95"][1]
    assert table["entropy"]["auroc"] > table["entropy + 4.0 spread"]["auroc"] > 0.5


def test_the_command_writes_thresholds_and_coverage(
    run_folder: Path, drives: Path, untrained: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "calibration.json"
    words = [f"runs=[{run_folder}]", f"data={drives}", f"checkpoint={untrained}", f"out={out}"]
    with pytest.raises(SystemExit) as stopped:
        main(["calibrate", *words])
    assert stopped.value.code == 0
    report = json.loads(out.read_text())
    limits = [row["threshold"] for row in report["thresholds"]]
    assert limits == sorted(limits, reverse=True)
    assert [row["share_of_ticks"] for row in report["thresholds"]] == list(SHARES)
    calls = [row["calls_per_tick"] for row in report["thresholds"]]
    assert 0 < calls[0] <= calls[-1] <= 0.08, "a second apart at 15 Hz, and two first ticks"
    assert report["measured"]["domain"] == "driving"
    assert len(report["reliability"]) == 10
    trained, corrected = (dict(report["coverage"][n]) for n in ("as_trained", "corrected"))
    assert abs(corrected[0.9] - 0.9) <= abs(trained[0.9] - 0.9) + 0.05
    said = capsys.readouterr().out
    assert f"{limits[0]:.3f}" in said
    assert f"{calls[-1]:.4f}" in said
    assert "foretold is the first collision or leaving of the road, within 2 s" in said
    cost = report["cost"]
    assert cost["rounds"] == 200
    assert min(cost["one_sample_ms"], cost["samples_ms"], cost["ratio"], cost["decision_ms"]) > 0
    shown = f"{cost['samples_ms']:.2f} ms with {cost['samples']} samples"
    wanted = f"inside the tick ({cost['engine']}): {shown}"
    assert wanted in " ".join(said.split())


def test_calibrating_on_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DualsysError, match="not the folder of a run"):
        episodes_of(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["calibrate", f"out={tmp_path / 'c.json'}"])
    assert stopped.value.code == 2


def as_if_of(run: Path, to: Path, scenario: str, success: bool) -> Path:
    """A copy of a run that says it is of another scenario."""
    shutil.copytree(run, to)
    results = json.loads((to / "results.json").read_text())
    for row in results["episodes"]:
        row |= {"scenario": scenario, "success": success}
    (to / "results.json").write_text(json.dumps(results))
    return to


@pytest.mark.parametrize("success", [True, False])
def test_where_running_out_of_time_is_failure_the_whole_episode_is_bad(
    run_folder: Path, tmp_path: Path, success: bool
) -> None:
    run = as_if_of(run_folder, tmp_path / "run", "manipulation/push", success)
    assert all((episode.bad == (not success)).all() for episode in episodes_of(run))


def test_runs_of_two_domains_are_not_put_together(run_folder: Path, tmp_path: Path) -> None:
    other = as_if_of(run_folder, tmp_path / "run", "manipulation/push", True)
    assert measured([other], 1.0).domain == "manipulation"
    with pytest.raises(DualsysError, match="calibrate them apart"):
        measured([run_folder, other], 1.0)
    assert measured([run_folder, run_folder], 1.0).weights is not None


def test_calls_are_counted_for_the_gate_of_the_calibration_only(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["trigger=learned"], ["trigger.max_age_s=2"]):
        with pytest.raises(SystemExit) as stopped:
            main(["calibrate", f"runs=[{run_folder}]", f"out={tmp_path / 'c.json'}", *words])
        assert stopped.value.code == 2
        assert "replays trigger=uncertainty without" in capsys.readouterr().err
