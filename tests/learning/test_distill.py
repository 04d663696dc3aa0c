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
from dualsys.system1 import checkpoint


def configuration(runs: list[Path], start: Path, out: Path) -> dict[str, Any]:
    words = [f"runs=[{','.join(map(str, runs))}]", f"start={start}", f"out={out}"]
    words += ["recipe=driving", "network.width=32", "network.layers=1", "network.token_grid=4"]
    words += ["perceive=[[0,1],[0,2],[0,4]]", "steps=1", "batch_size=2", "threads=1"]
    return load("distill", words)


def test_guided_successes_alone_are_taught(
    run_folder: Path, untrained: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(run_folder, tmp_path / "run"))
    results = json.loads((run / "results.json").read_text())
    for row in results["episodes"]:
        row["success"] = row["epoch"] == 1
    (run / "results.json").write_text(json.dumps(results))
    folder = distill(configuration([run], untrained, tmp_path / "out"), lambda s, p: None)
    accepted = Dataset(tmp_path / "out/accepted")
    assert accepted.episodes["seed"].to_pylist() == [1_000_001]
    assert (accepted.plan >= 0).any()
    card = checkpoint.load_card(folder)
    assert card.training["batches"]["plan_dropout"] == 0.6
    assert card.data["episodes"] == 1


def test_without_a_guided_success_there_is_nothing_to_teach(
    run_folder: Path, untrained: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(run_folder, tmp_path / "run"))
    results = json.loads((run / "results.json").read_text())
    for row in results["episodes"]:
        row["success"] = False
    (run / "results.json").write_text(json.dumps(results))
    with pytest.raises(DualsysError, match="no successful episode"):
        distill(configuration([run], untrained, tmp_path / "out"), lambda s, p: None)
    with pytest.raises(DualsysError, match="distill needs runs="):
        distill(configuration([], untrained, tmp_path / "out"), lambda s, p: None)
