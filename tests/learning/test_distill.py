from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.learning.dataset import Dataset
from dualsys.learning.distill import distill
from dualsys.learning.fit_policy import fit_policy
from dualsys.system1 import checkpoint


def configuration(runs: list[Path], start: Path, planner: Path | str, out: Path) -> dict[str, Any]:
    words = [f"runs=[{','.join(map(str, runs))}]", f"start={start}", f"out={out}"]
    words += [f"planner={planner}", "advice_every_ticks=20"]
    words += ["recipe=driving", "network.width=32", "network.layers=1", "network.token_grid=4"]
    words += ["perceive=[[0,1],[0,2],[0,4]]", "steps=1", "batch_size=2", "threads=1"]
    return load("distill", words)


def test_guided_successes_alone_are_taught(
    run_folder: Path, untrained: Path, planner_folder: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(run_folder, tmp_path / "run"))
    results = json.loads((run / "results.json").read_text())
    for row in results["episodes"]:
        row["success"] = row["epoch"] == 1
    (run / "results.json").write_text(json.dumps(results))
    config = configuration([run], untrained, planner_folder, tmp_path / "out")
    folder = distill(config, lambda s, p: None)
    accepted = Dataset(tmp_path / "out/accepted")
    assert accepted.episodes["seed"].to_pylist() == [1_000_001]
    assert (accepted.plan >= 0).any()
    card = checkpoint.load_card(folder)
    assert card.training["batches"]["plan_dropout"] == 0.6
    assert card.training["advised_by"] == str(planner_folder), "whose codes it was taught"
    assert card.data["episodes"] == 1


def test_without_a_guided_success_there_is_nothing_to_teach(
    run_folder: Path, untrained: Path, planner_folder: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(run_folder, tmp_path / "run"))
    results = json.loads((run / "results.json").read_text())
    for row in results["episodes"]:
        row["success"] = False
    (run / "results.json").write_text(json.dumps(results))
    config = configuration([run], untrained, planner_folder, tmp_path / "out")
    with pytest.raises(DualsysError, match="no successful episode"):
        distill(config, lambda s, p: None)
    with pytest.raises(DualsysError, match="distill needs runs="):
        distill(configuration([], untrained, "", tmp_path / "out"), lambda s, p: None)


def test_codes_are_not_unlearned_for_want_of_a_planner(
    run_folder: Path, drives: Path, untrained: Path, tmp_path: Path
) -> None:
    config = configuration([run_folder], untrained, "", tmp_path / "out")
    with pytest.raises(DualsysError, match=r"takes a code of 8 values .* give planner=FOLDER"):
        distill(config, lambda s, p: None)
    assert not (tmp_path / "out").exists(), "nothing was collected first"
    # `train system1` minds it where codes were learned, be it a training or two ago.
    advised = Path(shutil.copytree(untrained, tmp_path / "advised"))
    card = json.loads((advised / "card.json").read_text())
    first = {"data": {}, "training": {"advised_by": "runs/planner"}}
    card["training"] = {"advised_by": None, "started_from": first}
    (advised / "card.json").write_text(json.dumps(card))
    words = [f"data={drives}", f"start={advised}", f"out={tmp_path / 'out'}", "recipe=driving"]
    with pytest.raises(DualsysError, match=r"codes of the planner runs/planner; .* give planner="):
        fit_policy(load("train system1", words), lambda s, p: None)
