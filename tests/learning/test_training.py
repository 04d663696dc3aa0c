from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image

from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.learning.batches import Batch, BatchConfig, Batches
from dualsys.learning.curve import draw_curve, smooth
from dualsys.learning.fit_policy import fit_policy
from dualsys.learning.joined import JoinedDataset, open_datasets
from dualsys.learning.shards import finalise, write_shard
from dualsys.learning.train_system1 import losses
from dualsys.learning.trainer import OptimiserConfig, Trainer
from dualsys.system1 import checkpoint
from dualsys.system1.network import System1Network
from tests.fakes import SPEC
from tests.learning.test_dataset import episode
from tests.system1.test_network import CONFIG


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> JoinedDataset:
    root = tmp_path_factory.mktemp("data")
    for seed in range(4):
        write_shard(root, episode(seed, 20), SPEC)
    finalise(root, SPEC)
    return open_datasets(str(root))


def batches(dataset: JoinedDataset, **changes: float) -> Batches:
    config = BatchConfig(**changes)
    return Batches(dataset, SPEC, config, CONFIG, [(0, 1), (0, 2)])


def trainer(folder: Path, steps: int) -> Trainer:
    torch.manual_seed(0)
    config = OptimiserConfig(steps=steps, batch_size=16, warmup_steps=2, save_every=2, log_every=1)
    network = System1Network(CONFIG)
    weights = {"flow": 1.0, "laplace": 0.1, "perceive": 1.0}
    return Trainer(network, lambda batch: losses(network, batch), weights, config, folder)


def steps(dataset: JoinedDataset) -> Callable[[int], Batch]:
    source = batches(dataset)
    return lambda step: source.of_step(0, step, 16)


def test_chunks_end_with_their_episode(dataset: JoinedDataset) -> None:
    source = batches(dataset)
    batch = source.draw(400)
    mean, std = (source.normalisation[f"action_{n}"].numpy() for n in ("mean", "std"))
    chunk = batch.chunk.numpy() * std + mean
    for row in range(400):
        first = np.flatnonzero(np.isclose(dataset.action, chunk[row, 0]).all(1))[0]
        inside = min(8, 20 - first % 20)
        assert batch.mask[row].sum() == inside
        np.testing.assert_allclose(
            chunk[row, :inside], dataset.action[first : first + inside], rtol=1e-4, atol=1e-5
        )


def test_guidance_is_dropped_and_candidates_appear_at_their_rates(dataset: JoinedDataset) -> None:
    batch = batches(dataset, plan_dropout=0.3, candidate_rate=0.4).draw(4000)
    assert float(batch.plan.sum(1).mean()) == pytest.approx(0.7, abs=0.03)
    assert float(batch.phase[:, 2].mean()) == pytest.approx(0.4, abs=0.03)
    distance = (batch.source - batch.chunk).square().mean((1, 2))
    used = batch.phase[:, 2] > 0
    assert float(distance[used].mean()) < float(distance[~used].mean())


def test_training_lowers_the_loss(dataset: JoinedDataset, tmp_path: Path) -> None:
    seen: list[float] = []
    run = trainer(tmp_path, 80)
    run.run(steps(dataset), lambda step, parts: seen.append(parts["flow"]))
    assert np.mean(seen[-10:]) < 0.8 * np.mean(seen[:5])


def test_a_resumed_training_ends_with_the_same_weights(
    dataset: JoinedDataset, tmp_path: Path
) -> None:
    whole = trainer(tmp_path / "whole", 6)
    whole.run(steps(dataset))

    def interrupt(step: int, parts: dict[str, float]) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "parts", 6).run(steps(dataset), interrupt)
    resumed = trainer(tmp_path / "parts", 6)
    assert resumed.resume()
    assert resumed.step == 4
    resumed.run(steps(dataset))
    for name, value in whole.average.items():
        torch.testing.assert_close(resumed.average[name], value, rtol=0, atol=0)


def test_a_state_of_another_training_is_refused(dataset: JoinedDataset, tmp_path: Path) -> None:
    trainer(tmp_path, 2).run(steps(dataset))
    assert trainer(tmp_path, 9).resume(), "the number of steps may change"
    network = System1Network(CONFIG)
    config = OptimiserConfig(steps=2, batch_size=16, warmup_steps=2, learning_rate=0.5)
    other = Trainer(network, lambda b: {}, {"flow": 2.0}, config, tmp_path, {"data": "elsewhere"})
    told = r"begun with data=None, learning_rate=0.001, weights=.*data=elsewhere, learning_rate=0.5"
    with pytest.raises(DualsysError, match=told):
        other.resume()


def test_a_tick_without_a_plan_has_none(dataset: JoinedDataset) -> None:
    dataset.plan = np.where(np.arange(len(dataset.plan)) % 2 == 0, -1, dataset.plan)
    batch = batches(dataset, plan_dropout=0.0, max_plan_age_ticks=0).draw(200)
    told = batch.plan.sum(1)
    assert set(told.tolist()) == {0.0, 1.0}


def test_training_goes_on_from_a_checkpoint(drives: Path, untrained: Path, tmp_path: Path) -> None:
    sizes = ["width=32", "layers=1", "token_grid=4"]
    words = [f"data={drives}", f"out={tmp_path}", f"start={untrained}", "recipe=driving"]
    few = [
        "steps=1",
        "batch_size=2",
        "perceive=[[0,1],[0,2],[0,4]]",
        "learning_rate=1e-12",  # too little to see
        "threads=1",
    ]
    config = load("train system1", [*words, *few, *(f"network.{size}" for size in sizes)])
    fit_policy(config, lambda step, parts: None)
    before, after = (checkpoint.load(folder)[0] for folder in (untrained, tmp_path))
    for name, tensor in before.state_dict().items():
        torch.testing.assert_close(after.state_dict()[name], tensor)
    for name in checkpoint.NORMALISATION:
        torch.testing.assert_close(after.get_buffer(name), before.get_buffer(name))
    assert checkpoint.load_card(tmp_path).training["started_from"] is not None
    config["network"]["width"] = 64
    with pytest.raises(DualsysError, match="width: 32 there, 64 configured"):
        fit_policy(config, lambda step, parts: None)


def test_the_curve_is_an_image_of_what_was_logged(tmp_path: Path) -> None:
    rows = [{"step": float(step), "flow": 1.0 / step, "laplace": -step} for step in range(1, 60)]
    draw_curve(rows, tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as image:
        assert image.size[0] > image.size[1] > 200
        assert len(image.convert("L").getcolors()) > 20
    np.testing.assert_allclose(
        smooth(np.arange(50.0))[[0, 1, 49]], [0, 0.5, np.arange(30, 50).mean()]
    )


def test_some_beginnings_are_committed_and_ask_for_nothing(dataset: JoinedDataset) -> None:
    batch = batches(dataset, commit_rate=0.5).draw(400)
    lengths = batch.committed.sum(1)
    assert set(lengths.tolist()) == {0.0, 1.0, 2.0, 3.0}
    assert 0.35 < (lengths > 0).float().mean() < 0.65
    assert (batch.committed[:, :-1] >= batch.committed[:, 1:]).all()
    torch.manual_seed(0)
    network = System1Network(CONFIG)
    before = losses(network, batch)["flow"]
    given = batch.committed[..., None] > 0
    batch.source = torch.where(given, torch.full_like(batch.source, 1e3), batch.source)
    torch.manual_seed(0)
    System1Network(CONFIG)
    assert torch.equal(losses(network, batch)["flow"], before)


def test_a_committed_beginning_is_what_was_done_not_what_should_have_been(
    dataset: JoinedDataset,
) -> None:
    source = batches(dataset, commit_rate=1.0)
    batch = source.draw(50)
    mean, std = (source.normalisation[f"action_{name}"].numpy() for name in ("mean", "std"))
    done = (dataset.executed - mean) / std
    for row in batch.executed[:, 0].numpy():
        assert np.abs(done - row).max(1).min() < 1e-5
    assert (batch.executed - batch.chunk).abs().max() > 0.01, "demonstrations carry noise"
    torch.manual_seed(0)
    network = System1Network(CONFIG)
    torch.nn.init.normal_(network.action_out.weight)

    def flow() -> float:
        torch.manual_seed(1)
        return float(losses(network, batch)["flow"].detach())

    before = flow()
    batch.executed = batch.executed + 5.0
    assert flow() != before


def test_without_committed_beginnings_none_is_drawn(dataset: JoinedDataset) -> None:
    plain = Batches(dataset, SPEC, BatchConfig(), msgspec.structs.replace(CONFIG, commit_ticks=0),
                    [(0, 1), (0, 2)])  # fmt: skip
    assert not plain.draw(50).committed.any()
