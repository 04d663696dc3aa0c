"""Early exits stand beside the weights that they were trained behind, and change none of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch

import dualsys
from dualsys.errors import DualsysError
from dualsys.learning.lineage import tensors_digest
from dualsys.runtime.engines import prepared_system1
from dualsys.system1 import checkpoint, exits
from dualsys.system1.compiled import exit_at
from dualsys.system1.depth import EXITS
from dualsys.system1.network import System1Network
from sim.driving.spec import SPEC
from tests.system1.test_parts import CONFIG, exit_behind

SHIPPED = [Path(dualsys.__file__).parent / "weights" / name for name in ("driving", "manipulation")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint of three blocks, with untrained exits."""
    torch.manual_seed(0)
    network = msgspec.structs.replace(CONFIG, plans=len(SPEC.plans))
    card = checkpoint.Card(network, SPEC, {}, {}, {}, {})
    scale = {name: torch.ones(5) for name in ("state_mean", "state_std")}
    scale |= {name: torch.ones(2) for name in ("action_mean", "action_std")}
    checkpoint.save(tmp_path, System1Network(network), scale, card)
    write_exits(tmp_path)
    return tmp_path


def write_exits(folder: Path) -> None:
    weights = checkpoint.digest_of(folder / checkpoint.WEIGHTS)
    sizes = (CONFIG.layers, CONFIG.width, 16, CONFIG.action_size)
    exits.save(folder, exits.exits_of(*sizes), exits.ExitCard(weights, *sizes, {}, {}, {}, {}))


def test_what_was_saved_is_what_is_read(folder: Path) -> None:
    found, card = exits.load(folder, checkpoint.digest_of(folder / checkpoint.WEIGHTS))
    assert [early.layers for early in found] == [1, 2]
    torch.manual_seed(1)
    made = exits.exits_of(3, CONFIG.width, 16, CONFIG.action_size)
    exits.save(folder, made, card)
    again = exit_at(folder, 2)
    seen = torch.randn(2, CONFIG.horizon, CONFIG.width)
    torch.testing.assert_close(again(seen), made[1](seen))
    with pytest.raises(DualsysError, match=r"behind \[1, 2\] blocks, none behind 3"):
        exit_at(folder, 3)


def test_exits_of_other_weights_are_refused(folder: Path) -> None:
    with pytest.raises(DualsysError, match=r"stand behind the weights .* there are other now"):
        exits.load(folder, "other")


def test_without_exits_the_command_that_makes_them_is_named(folder: Path) -> None:
    (folder / EXITS).unlink()
    with pytest.raises(
        DualsysError, match=r"no early exits at .* `dualsys train exits checkpoint="
    ):
        exit_at(folder, 1)


@pytest.mark.parametrize("name", [EXITS, exits.CARD])
def test_files_that_are_something_else_are_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / checkpoint.WEIGHTS).read_bytes())
    with pytest.raises(DualsysError, match=name):
        exit_at(folder, 1)


def test_weights_that_are_not_finite_are_refused(folder: Path) -> None:
    weights = checkpoint.digest_of(folder / checkpoint.WEIGHTS)
    found, card = exits.load(folder, weights)
    torch.nn.init.constant_(found[0].head[1].weight, float("nan"))
    exits.save(folder, torch.nn.ModuleList(found), card)
    with pytest.raises(DualsysError, match="hold NaN or infinity"):
        exits.load(folder, weights)


def test_the_last_of_all_blocks_makes_the_velocity() -> None:
    torch.manual_seed(0)
    network = System1Network(CONFIG)
    torch.nn.init.normal_(network.action_out.weight)
    images = [torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8) for _ in range(2)]
    from dualsys.system1.network import Guided

    guided = Guided(torch.zeros(2, 4), torch.zeros(2, 8), torch.zeros(2, 3))
    with torch.inference_mode():
        context = network.encode(images, torch.zeros(2, 5), guided)
        x, tau = torch.randn(2, 8, 2), torch.rand(2)
        behind = list(network.behind_blocks(x, tau, context))
        whole = network.velocity(x, tau, context)
        early = exit_behind(2)
        assert len(behind) == CONFIG.layers
        assert torch.equal(whole, network.action_out(network.action_norm(behind[-1])))
        assert torch.equal(network.velocity(x, tau, context, early=early), early(behind[1]))


def test_exits_change_neither_the_weights_nor_what_others_build_on(folder: Path) -> None:
    spec, before = SPEC, tensors_digest(folder)
    whole = prepared_system1(folder, spec, 1, "flow").network.key
    exit_one = prepared_system1(folder, spec, 1, "flow", 1).network.key
    assert exit_one != prepared_system1(folder, spec, 1, "flow", 2).network.key != whole
    assert prepared_system1(folder, spec, 1, "flow", CONFIG.layers).network.key == whole
    torch.manual_seed(5)
    write_exits(folder)
    assert prepared_system1(folder, spec, 1, "flow").network.key == whole
    assert prepared_system1(folder, spec, 1, "flow", 1).network.key != exit_one
    assert tensors_digest(folder) == before


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_shipped_exits_foretell_the_better_the_later_they_are(folder: Path) -> None:
    weights = checkpoint.digest_of(folder / checkpoint.WEIGHTS)
    found, card = exits.load(folder, weights)
    network = checkpoint.load_card(folder).network
    assert [early.layers for early in found] == list(range(1, network.layers))
    assert (card.layers, card.width, card.action_size) == (
        network.layers,
        network.width,
        network.action_size,
    )
    assert card.scores["inputs"] > 40
    for noise in ("noise 0", "noise 1"):
        rows = list(card.scores[noise].values())
        for what in ("velocity_error", "chunk_error"):
            errors = [row[what] for row in rows]
            assert 0 < errors[1] < errors[0] < 1
