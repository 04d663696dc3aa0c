"""`dualsys train exits`: the network stays, the exits learn what all of it would say."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dualsys import cli
from dualsys.bench.rig import rig
from dualsys.config import load
from dualsys.learning.batches import Batch
from dualsys.learning.fit_exits import scores
from dualsys.learning.train_exits import begun, foretold, losses
from dualsys.system1 import checkpoint, exits
from dualsys.system1.depth import EXITS, Effort
from dualsys.system1.network import Guided, System1Network
from dualsys.system1.stepped import SteppedEngine
from kernels.engine import Engine
from tests.system1.test_parts import CONFIG, LAYERS, sampler_of


@pytest.fixture
def folder(layered: Path, tmp_path: Path) -> Path:
    """A small checkpoint of the driving worlds whose flow has two blocks, without exits."""
    weights = Path(shutil.copytree(layered, tmp_path / "weights"))
    (weights / EXITS).unlink()
    (weights / exits.CARD).unlink()
    return weights


def words(folder: Path, drives: Path, *more: str) -> list[str]:
    return ["train", "exits", f"checkpoint={folder}", f"data={drives}", "batch_size=8", "hidden=8",
            "threads=1", "device=cpu", f"out={folder.parent / 'training'}", *more]  # fmt: skip


def test_exits_come_beside_weights_that_stay_and_a_run_takes_them(
    folder: Path, drives: Path
) -> None:
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(SystemExit) as ended:
        cli.main(words(folder, drives, "steps=3"))
    assert ended.value.code == 0
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert {file.name for file in folder.iterdir()} == {*before, EXITS, exits.CARD}
    _, card = exits.load(folder, checkpoint.digest_of(folder / checkpoint.WEIGHTS))
    assert (card.layers, card.hidden, card.training["steps"]) == (2, 8, 3)
    assert card.data["episodes"] == 2
    assert card.scores == {}, "nothing is recorded beside these weights"
    met: list[Engine] = []

    def watch(engine: Engine) -> Engine:
        met.append(engine)
        return engine

    depth = ["system1.depth=fixed", "system1.depth_steps=[2]", "system1.depth_layers=[1]"]
    config = load("eval", ["scenario=driving/merge", "system2=none", "runtime.episode_s=2",
                           f"system1.checkpoint={folder}", "engine=torch", *depth])  # fmt: skip
    with rig(config, "driving/merge", watch) as driven:
        driven.run(0, 3)
    assert isinstance(met[0], SteppedEngine)
    assert met[0].taken.keys() == {Effort(2, 1)}


def test_a_training_goes_on_from_its_state_with_the_same_settings_alone(
    folder: Path, drives: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = []
    for more in (["steps=2"], ["steps=4"], ["steps=4"], ["steps=4", "seed=1"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(words(folder, drives, *more))
        made.append((folder / EXITS).read_bytes())
    assert made[0] != made[1] == made[2] == made[3], "nothing is left to learn at the end"
    assert ended.value.code == 2
    assert "was begun with seed=0" in capfd.readouterr().err
    _, card = exits.load(folder, checkpoint.digest_of(folder / checkpoint.WEIGHTS))
    assert card.training["steps"] == 4


def batch_of(size: int = 6) -> Batch:
    torch.manual_seed(3)
    shape = (size, CONFIG.horizon, CONFIG.action_size)
    committed = (torch.arange(CONFIG.horizon) < torch.arange(size)[:, None] % 3).float()
    phase = torch.zeros(size, 3)
    phase[::2, 2] = 1
    images = [torch.randint(0, 256, (size, 16, 16, 3), dtype=torch.uint8) for _ in CONFIG.cameras]
    return Batch(
        images, torch.randn(size, CONFIG.state_size), torch.zeros(size, CONFIG.plans),
        torch.zeros(size, CONFIG.plan_vector_size), phase, torch.randn(shape),
        torch.ones(shape[:2]), committed, torch.randn(shape), torch.randn(shape),
        torch.zeros(size, 3), torch.zeros(size, 3),
    )  # fmt: skip


def test_flows_start_from_candidates_noise_or_nothing_and_what_is_committed_stands() -> None:
    batch = batch_of()
    found = begun(batch)
    fixed = batch.committed > 0
    assert torch.equal(found[fixed], batch.executed[fixed])
    free = ~fixed
    assert torch.equal(found[::2][free[::2]], batch.source[::2][free[::2]]), "candidates stay"
    for row in range(1, 6, 2):
        seen = found[row][free[row]]
        assert torch.equal(seen, batch.source[row][free[row]]) or not seen.any()


def test_the_network_learns_nothing_and_the_exits_do() -> None:
    network = sampler_of(1).network.requires_grad_(False)
    made = exits.exits_of(LAYERS, CONFIG.width, 16, CONFIG.action_size)
    optimiser = torch.optim.Adam(made.parameters(), lr=1e-2)
    batch, totals = batch_of(), []
    for _ in range(30):
        torch.manual_seed(0)
        found = losses(made, network, batch)
        assert list(found) == ["behind_1", "behind_2"]
        total = torch.stack(list(found.values())).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.8 * totals[0]
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_perfect_exit_scores_no_error() -> None:
    class Perfect(torch.nn.Module):
        """Goes on through the blocks that are left; for this test alone."""

        def __init__(self, layers: int, network: System1Network) -> None:
            super().__init__()
            self.layers, self.inner = layers, [network]

        def forward(self, behind: torch.Tensor) -> torch.Tensor:
            network = self.inner[0]
            answer: torch.Tensor = network.action_out(network.action_norm(behind))
            return answer

    sampler = sampler_of(1)
    # Blocks that add nothing: behind the first, all is said.
    for block in sampler.network.blocks[1:]:
        for layer in (block.self_out, block.cross_out, block.mlp[-1]):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
    from dualsys.system1.sampler import sampler_inputs
    from kernels.reference import example_arrays

    arrays = example_arrays(sampler_inputs(sampler), 1)
    arrays["committed_ticks"][:] = 2
    right = torch.nn.ModuleList(Perfect(n, sampler.network) for n in range(1, LAYERS))
    wrong = exits.exits_of(LAYERS, CONFIG.width, 16, CONFIG.action_size)
    for made, limit in ((right, 1e-5), (wrong, 0.05)):
        found = scores(made, sampler, [arrays])
        assert found["inputs"] == 1
        errors = [row[what] for noise in ("noise 0", "noise 1") for row in found[noise].values()
                  for what in ("velocity_error", "chunk_error")]  # fmt: skip
        assert len(errors) == 8
        assert all((error < limit) == (made is right) for error in errors)
    assert scores(right, sampler, []) == {}


def test_every_velocity_is_told_and_the_last_is_the_networks() -> None:
    network, batch = sampler_of(1).network, batch_of()
    made = exits.exits_of(LAYERS, CONFIG.width, 16, CONFIG.action_size)
    with torch.no_grad():
        guided = Guided(batch.plan, batch.z, batch.phase)
        context = network.encode(batch.images, batch.state, guided)
        tau = torch.rand(6)
        found = foretold(made, network, batch.source, tau, context, batch.committed)
        wanted = network.velocity(batch.source, tau, context, batch.committed)
    assert len(found) == LAYERS
    np.testing.assert_array_equal(found[-1].numpy(), wanted.numpy())
