"""Which files a benchmark's results depend on, and that a resumed one refuses others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dualsys.bench.command import run_bench
from dualsys.bench.contents import contents, digest
from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.system1.depth import EXITS
from dualsys.system2.checkpoint import RECORDED
from sim import registry
from tests.benchmarks import words

DRIVER = "system1.driver=idm"  # it has no weights


def named(*more: str) -> set[str]:
    """The words that name files in a configuration of `dualsys eval`."""
    config = load("eval", ["scenario=driving/merge", DRIVER, *more])
    return set(contents([config], registry.spec_of("driving/merge")))


def test_every_file_that_decides_results_is_known_by_its_content(tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    file.write_text("{}")
    scripted = "system2=scripted"
    for key, chosen in (
        ("trigger.gate", [scripted, "trigger=learned"]),
        ("trigger.calibration", [scripted, "trigger=uncertainty"]),
        ("system2.scores", ["system2=foretold", "trigger=never"]),
        ("system2.checkpoint", ["system2=vlm", "trigger=never"]),
        ("latency.trace", [scripted, "trigger=never", "latency=trace"]),
    ):
        assert named(*chosen, f"{key}={file}") == {f"{key}={file}"}
    assert named("system2=none", "trigger=uncertainty", f"trigger.calibration={file}") == set()
    assert named(scripted, "trigger=uncertainty", "trigger.threshold=1.0") == set()


def test_early_exits_stand_for_themselves_where_a_run_takes_them(
    untrained: Path, tmp_path: Path
) -> None:
    weights = shutil.copytree(untrained, tmp_path / "weights")
    spec, checkpoint = registry.spec_of("driving/merge"), f"system1.checkpoint={weights}"
    driver = f"system1.driver=network {checkpoint}"
    own = load("eval", ["scenario=driving/merge", "system2=none", checkpoint])
    depth = ["system1.depth=fixed", "system1.depth_steps=[1]", "system1.depth_layers=[1]"]
    early = load("eval", ["scenario=driving/merge", "system2=none", checkpoint, *depth])
    before = contents([own], spec)
    (weights / EXITS).write_text("one")
    (weights / "exits.json").write_text("{}")
    assert contents([own], spec) == before, "results that are there stay what they are"
    named = contents([own, early], spec)
    assert named.keys() == {driver, f"early exits of {driver}"}
    (weights / EXITS).write_text("another")
    changed = contents([own, early], spec)
    assert [word for word in named if named[word] != changed[word]] == [f"early exits of {driver}"]


def test_requests_that_engines_are_compared_on_change_no_planner(
    planner_folder: Path, tmp_path: Path
) -> None:
    planner = shutil.copytree(planner_folder, tmp_path / "planner")
    before = digest("planner", planner)
    (planner / RECORDED).write_text("requests")
    assert digest("planner", planner) == before
    (planner / "config.json").write_text("{}")
    assert digest("planner", planner) != before


def test_a_file_of_tried_plans_counts_without_the_dataset_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    scores = tmp_path / "scores.json"
    scores.write_text(json.dumps({"data": [str(tmp_path / "data")]}))
    spec = registry.spec_of("driving/merge")
    config = load("eval", ["scenario=driving/merge", DRIVER, "system2=foretold", "trigger=never",
                           f"system2.scores={scores}"])  # fmt: skip
    before = contents([config], spec)
    (tmp_path / "data/more").write_text("rows")
    assert contents([config], spec) == before
    scores.write_text("{}")
    assert contents([config], spec) != before


def test_other_weights_are_refused_and_both_sides_named(
    untrained: Path, table: Path, tmp_path: Path
) -> None:
    weights = shutil.copytree(untrained, tmp_path / "weights")
    out, arguments = tmp_path / "out", words(weights, table, tmp_path / "out", "seeds=0:1")
    run_bench(arguments)
    card = weights / "card.json"
    card.write_text(f"{card.read_text()} ")
    with pytest.raises(
        DualsysError, match=r"contents, system1.driver=network .*: there \w{64}, now \w{64}\)"
    ):
        run_bench(["--resume", f"out={out}"])
    shutil.rmtree(weights)
    with pytest.raises(DualsysError, match="there is nothing at"):
        run_bench(["--resume", f"out={out}"])


def calibration(to: Path, threshold: float, config: dict[str, float]) -> Path:
    """A file that `trigger=uncertainty` takes, of no checkpoint in particular."""
    measured = {"domain": "driving", "control_rate_hz": 15.0, "checkpoint": "any", "weights": None,
                "samples": config["samples"], "spread_weight": config["spread_weight"]}  # fmt: skip
    rows = [
        {"share_of_ticks": rate, "threshold": limit, "calls_per_tick": rate}
        for rate, limit in ((0.001, threshold + 1), (0.1, threshold))
    ]
    gate = {"hysteresis": 0.1, "refractory_s": 1.0}
    to.write_text(json.dumps({"measured": measured, "thresholds": rows, **gate}))
    return to


def test_another_calibration_is_refused(untrained: Path, table: Path, tmp_path: Path) -> None:
    system1 = load("eval", ["scenario=driving/merge"])["system1"]
    file, out = calibration(tmp_path / "c.json", -1.0, system1), tmp_path / "out"
    gate = ["trigger=uncertainty", f"trigger.calibration={file}", "trigger.rate=0.01"]
    short = ["seeds=0:1", "runtime.episode_s=1", "variants=[periodic]"]
    run_bench([*words(untrained, table, out, "workers=1"), *gate, *short])
    calibration(file, -2.0, system1)
    with pytest.raises(
        DualsysError, match=r"contents, trigger.calibration=.*: there \w{64}, now \w{64}\)"
    ):
        run_bench(["--resume", f"out={out}"])
