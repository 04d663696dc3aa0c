"""The curve of a training in TensorBoard's files and in Weights & Biases, and a training on Ray."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

from dualsys import cli
from dualsys.errors import DualsysError, UnknownNameError
from dualsys.learning.journal import EVENTS, journal

WORDS = ["train", "system1", "recipe=driving", "batch_size=4", "threads=1", "network.width=32"]
WORDS += ["network.layers=1", "network.heads=2"]


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder)).Reload()
    tags = found.Tags()["scalars"]
    return {tag: {e.step: e.value for e in found.Scalars(tag)} for tag in tags}


def train(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([*WORDS, *words])
    return int(ended.value.code or 0)


def test_a_curve_is_what_tensorboard_shows(tmp_path: Path) -> None:
    with journal("tensorboard", tmp_path, 0, {}) as row:
        for step in (50, 100, 150):
            row(step, {"flow": step / 100, "laplace": -1.0})
    found = scalars(tmp_path / EVENTS)
    assert found["flow"] == pytest.approx({50: 0.5, 100: 1.0, 150: 1.5})
    assert set(found) == {"flow", "laplace"}


def test_a_training_that_goes_on_takes_back_what_was_never_saved(tmp_path: Path) -> None:
    with journal("tensorboard", tmp_path, 0, {}) as row:
        for step in (50, 100, 150):
            row(step, {"flow": 1.0})
    with journal("tensorboard", tmp_path, 100, {}) as row:
        row(150, {"flow": 2.0})
    assert scalars(tmp_path / EVENTS)["flow"] == {50: 1.0, 100: 1.0, 150: 2.0}


def test_a_place_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="tensorboard, wandb"), journal("x", tmp_path, 0, {}):
        pass


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_library_that_is_missing_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb"}[name]
    monkeypatch.setitem(sys.modules, hidden, None)
    with (
        pytest.raises(DualsysError, match=f"track={name} needs"),
        journal(name, tmp_path, 0, {}),
    ):
        pass


def test_weights_and_biases_gets_one_run_for_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="an extra of its own: pip install 'dualsys[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for step in (0, 100):
        with journal("wandb", tmp_path, step, {"steps": 200}) as row:
            row(step + 50, {"flow": 1.0})
    runs = [path.name for path in (tmp_path / "wandb").glob("offline-run-*")]
    assert len({name.split("-")[3] for name in runs}) == 1, "a number behind it is a part of it"


def test_a_training_logs_without_being_asked(drives: Path, tmp_path: Path) -> None:
    assert train(f"data={drives}", f"out={tmp_path}", "steps=2") == 0
    with (tmp_path / "curve.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert scalars(tmp_path / EVENTS)["flow"] == {2: pytest.approx(float(row["flow"]), rel=1e-5)}


@pytest.mark.timeout(300)
def test_a_training_on_ray_makes_the_same_weights(drives: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    words = [f"data={drives.resolve()}", "steps=3", "track=none"]
    assert train(*words, f"out={tmp_path / 'here'}") == 0
    assert train(*words, f"out={tmp_path / 'there'}", "ray_address=local") == 0
    name = "model.safetensors"
    assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()
