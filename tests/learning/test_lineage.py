"""Trainings go on where they stopped, but only on the ground on which they were begun."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.learning.dataset import Dataset
from dualsys.learning.fit_heads import fit_heads
from dualsys.learning.fit_policy import fit_policy
from dualsys.learning.fit_value import fit_value
from dualsys.learning.lineage import tensors_digest
from dualsys.system2 import checkpoint
from dualsys.system2.thinking import ThinkConfig
from tests.learning.conftest import with_success


def quiet(step: int, parts: dict[str, float]) -> None:
    pass


def words_of(planner: Path, data: Path, system1: Path, *words: str) -> list[str]:
    fixed = ["batch_size=8", "threads=1", "device=cpu", *words]
    return [f"planner={planner}", f"data={data}", f"prompts_from={system1}", *fixed]


def heads(planner: Path, data: Path, system1: Path, steps: int) -> dict[str, Any]:
    words = words_of(planner, data, system1, f"steps={steps}", "every_ticks=8")
    return load("train heads", words)


def value(planner: Path, data: Path, system1: Path, steps: int) -> dict[str, Any]:
    words = words_of(planner, data, system1, f"steps={steps}", "every_ticks=8")
    return load("train value", words)


def change(file: Path, name: str) -> None:
    """One number of one tensor becomes another."""
    with safe_open(file, "pt") as opened:
        about = opened.metadata()
    tensors = load_file(file)
    tensors[name].view(-1)[0] += 1.0
    save_file(tensors, file, about)


@pytest.fixture
def planner(planner_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(planner_folder, tmp_path / "planner"))


def test_heads_of_another_model_are_not_gone_on_with(
    planner: Path, drives: Path, untrained: Path
) -> None:
    config = heads(planner, drives, untrained, 1)
    fit_heads(config, quiet)
    trained = tensors_digest(planner)
    fit_heads(config, quiet)
    assert tensors_digest(planner) == trained, "its own training is no other ground"
    change(planner / "heads.safetensors", "heads.value.bias")
    fit_heads(config, quiet)
    change(planner / "model.safetensors", "model.text_model.norm.weight")
    told = rf"contents of {planner}=\w+, this .* remove {planner}/training_heads to begin anew"
    with pytest.raises(DualsysError, match=told):
        fit_heads(config, quiet)


def test_an_interrupted_training_of_the_value_goes_on(
    planner: Path, outcomes: Path, untrained: Path, tmp_path: Path
) -> None:
    whole = Path(shutil.copytree(planner, tmp_path / "whole"))
    fit_value(value(whole, outcomes, untrained, 4), quiet)
    config = {**value(planner, outcomes, untrained, 4), "save_every": 1, "log_every": 1}

    def interrupt(step: int, parts: dict[str, float]) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_value(config, interrupt)
    seen: list[int] = []
    fit_value(config, lambda step, parts: seen.append(step))
    assert [step for step in seen if step] == [3, 4], "two steps had been saved"
    gone_on, at_once = (load_file(folder / "heads.safetensors") for folder in (planner, whole))
    for name, tensor in at_once.items():  # to rounding: sums depend on where memory lies
        torch.testing.assert_close(gone_on[name], tensor, atol=5e-5, rtol=1e-3)
    fit_value({**config, "steps": 5}, quiet)  # though the head on disk is the trained one now


def test_a_value_of_other_heads_is_not_gone_on_with(
    planner: Path, outcomes: Path, drives: Path, untrained: Path
) -> None:
    config = value(planner, outcomes, untrained, 1)
    fit_value(config, quiet)
    fit_heads(heads(planner, drives, untrained, 1), quiet)
    with pytest.raises(DualsysError, match=rf"contents of {planner}=.* to begin anew"):
        fit_value(config, quiet)


def test_other_episodes_in_the_same_folder_are_no_longer_the_data(
    planner: Path, drives: Path, untrained: Path, tmp_path: Path
) -> None:
    data = with_success(drives, tmp_path / "data", True, False)
    assert Dataset(data).digest() == Dataset(Path(shutil.copytree(data, tmp_path / "b"))).digest()
    config = value(planner, data, untrained, 1)
    fit_value(config, quiet)
    shutil.rmtree(data)
    with_success(drives, data, False, True)
    with pytest.raises(DualsysError, match=rf"contents of {data}=\w+, this training has"):
        fit_value(config, quiet)


def test_system_1_is_not_gone_on_with_from_another_start(
    drives: Path, untrained: Path, tmp_path: Path
) -> None:
    start = Path(shutil.copytree(untrained, tmp_path / "start"))
    words = [f"data={drives}", f"out={tmp_path / 'out'}", f"start={start}", "recipe=driving"]
    words += ["network.width=32", "network.layers=1", "network.token_grid=4", "batch_size=2"]
    words += ["perceive=[[0,1],[0,2],[0,4]]", "threads=1", "steps=1"]
    config = load("train system1", words)
    fit_policy(config, quiet)
    fit_policy({**config, "steps": 2}, quiet)
    change(start / "model.safetensors", "network.action_out.bias")
    with pytest.raises(DualsysError, match=rf"contents of {start}=\w+, this training has"):
        fit_policy(config, quiet)


def test_a_value_counts_as_trained_until_what_it_reads_changes(
    planner: Path,
    outcomes: Path,
    drives: Path,
    untrained: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fit_heads(heads(planner, drives, untrained, 1), quiet)
    fit_value(value(planner, outcomes, untrained, 1), quiet)
    card = checkpoint.load(planner).card
    assert list(card.training) == ["heads", "value"], "the value after the heads, as it was trained"
    chosen_by_value = ThinkConfig(candidates=2)
    chosen_by_value.check(card)
    capsys.readouterr()
    fit_heads(heads(planner, drives, untrained, 1), quiet)  # finished: nothing is trained
    assert checkpoint.load(planner).card.training["value"] == card.training["value"]
    assert capsys.readouterr().err == ""
    fit_heads(heads(planner, drives, untrained, 2), quiet)
    (line,) = capsys.readouterr().err.splitlines()
    assert f"train it again: dualsys train value planner={planner}" in line
    stale = checkpoint.load(planner).card
    assert list(stale.training) == ["heads"]
    with pytest.raises(DualsysError, match="train them with `dualsys train value`"):
        chosen_by_value.check(stale)
