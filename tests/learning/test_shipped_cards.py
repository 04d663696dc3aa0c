"""Shipped cards say which model a planner is; scores stay with the weights that they are of."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from safetensors.torch import load_file, save_file

import dualsys
from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.learning.cards import model_of, spare
from dualsys.learning.fit_planner import fit_planner
from dualsys.system2 import checkpoint
from dualsys.system2.questions import chain
from dualsys.system2.thinking import ThinkConfig

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((Path(dualsys.__file__).parent / "weights").glob("*-planner"))


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_a_shipped_card_says_which_model_it_is_and_how_well_it_answers(folder: Path) -> None:
    planning = checkpoint.load(folder)
    card = planning.card
    assert card.model == model_of(planning)
    assert card.model["class"] == type(planning.language.model).__name__
    assert card.model["parameters"] == sum(
        tensor.numel() for tensor in load_file(folder / "model.safetensors").values()
    )
    heads = load_file(folder / "heads.safetensors").items()
    assert card.model["heads_parameters"] == sum(
        tensor.numel() for name, tensor in heads if name.startswith("heads.")
    )
    assert card.model["base"] or (card.model["name"], card.model["sizes"]["text_width"]) == (
        "small",
        planning.language.text_width,
    )
    assert card.scores["answers"]["questions"].keys() == {q.name for q in chain(card.spec)}
    ThinkConfig(candidates=5, choice="value").check(card)


def test_there_are_shipped_planners_to_look_at() -> None:
    assert {folder.name for folder in SHIPPED} == {"driving-planner", "manipulation-planner"}


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(
        ["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def change(file: Path, name: str) -> None:
    tensors = load_file(file)
    tensors[name].view(-1)[0] += 1.0
    save_file(tensors, file)


def test_scores_of_weights_that_changed_since_are_refused(
    planner_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(planner_folder, tmp_path / "repository/weights"))
    git(tmp_path, "init", "-q", "repository")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "Weights")
    score: dict[str, Any] = {"questions": {}, "candidate_rmse": [], "bits_measured": 0, "ticks": 1}
    score |= {"config": {"planner": str(folder)}, "git": {"commit": git(folder, "rev-parse", "@")}}
    (tmp_path / "score.json").write_text(json.dumps(score))
    scores = runpy.run_path(str(ROOT / "launch/ship_weights.py"))["scores"]
    change(folder / "heads.safetensors", "heads.value.bias")
    found = scores(folder, [tmp_path / "score.json"], "system2")
    assert found["answers"]["git"] == score["git"], "no answer depends on the value"
    change(folder / "heads.safetensors", "heads.bottleneck.down.bias")
    with pytest.raises(DualsysError, match=r"weights in .* have changed since; measure them again"):
        scores(folder, [tmp_path / "score.json"], "system2")


@pytest.mark.parametrize("training", ["system2", "heads"])
def test_a_planner_that_went_on_to_learn_is_not_written_over(training: str, tmp_path: Path) -> None:
    spare(tmp_path, training)  # nothing is there
    with pytest.raises(DualsysError, match=r"went on to learn .*value.* after"):
        spare(SHIPPED[0], training)
    card = checkpoint.load_card(SHIPPED[0])
    before = {k: v for k, v in card.training.items() if k != "heads"}
    newest = {**before, training: {"versions": {}}}
    (tmp_path / checkpoint.CARD).write_bytes(
        msgspec.json.encode(msgspec.structs.replace(card, training=newest))
    )
    spare(tmp_path, training)  # nothing came after it: it may go on


def test_a_finished_planner_is_not_trained_over(tmp_path: Path) -> None:
    shutil.copy(SHIPPED[0] / checkpoint.CARD, tmp_path)
    config = load("train system2", ["data=anywhere", f"out={tmp_path}"])
    with pytest.raises(DualsysError, match="give another out="):
        fit_planner(config, lambda step, parts: None)
