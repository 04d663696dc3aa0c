"""`dualsys train exits`: inputs that System 1 met -> early exits beside its weights, with a card.

The weights stay as they are. How good the exits are is told on what was recorded beside the
weights, which nothing is trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from dualsys.device import device_of
from dualsys.errors import DualsysError
from dualsys.learning.advice import Advice, advise
from dualsys.learning.batches import BatchConfig, Batches
from dualsys.learning.joined import JoinedDataset, open_datasets
from dualsys.learning.lineage import built_on
from dualsys.learning.preparation import Told, before_steps
from dualsys.learning.train_exits import foretold, losses
from dualsys.learning.trainer import optimiser_of, trained
from dualsys.runtime.results import machine, versions
from dualsys.spec import require_same
from dualsys.system1 import checkpoint
from dualsys.system1.compiled import recorded_inputs
from dualsys.system1.exits import ExitCard, exits_of, save
from dualsys.system1.sampler import Sampler
from kernels.network import Arrays


def fit_exits(config: dict[str, Any], progress: Callable[[int, dict[str, float]], None]) -> Path:
    """Train (or go on training) the exits and write them beside `config["checkpoint"]`'s weights.

    State and curve are kept in `config["out"]`. Returns the checkpoint's folder.
    """
    torch.set_num_threads(config["threads"])
    folder, told = Path(config["checkpoint"]), before_steps(progress)
    sampler, card = checkpoint.load(folder)
    if card.network.layers < 2:
        raise DualsysError(f"the flow of {folder} has one block: there is nowhere to leave early")
    dataset = open_datasets(config["data"], told)
    require_same(dataset.spec, card.spec, "the data", f"the checkpoint {folder}")
    device = device_of(config["device"])
    network = sampler.network.requires_grad_(False).to(device)
    torch.manual_seed(config["seed"])
    sizes = (card.network.layers, card.network.width, config["hidden"], card.network.action_size)
    exits = exits_of(*sizes)
    names = [f"behind_{number}" for number in range(1, card.network.layers)]
    weights = trained(
        exits,
        lambda batch: losses(exits, network, batch),
        dict.fromkeys(names, 1.0),
        _batches(config, sampler, card, dataset, told).of_step,
        config,
        Path(config["out"]),
        progress,
        built_on(dataset, planner=config["planner"], others=[str(folder / checkpoint.WEIGHTS)]),
    )
    exits.load_state_dict(weights)
    sampler.cpu()
    found = scores(exits.cpu().eval(), sampler, recorded_inputs(folder, 1))
    save(folder, exits, _card(config, folder, sizes, dataset, found))
    return folder


def _batches(
    config: dict[str, Any],
    sampler: Sampler,
    card: checkpoint.Card,
    dataset: JoinedDataset,
    told: Told,
) -> Batches:
    """Batches as the network's own training drew them; what it perceives is not asked for."""
    batches = msgspec.convert(card.training.get("batches", {}), BatchConfig)
    norm = {name: sampler.get_buffer(name).numpy() for name in checkpoint.NORMALISATION}
    advice = _advice(config, dataset, told)
    return Batches(dataset, dataset.spec, batches, card.network, [], norm, advice)


def _advice(config: dict[str, Any], dataset: JoinedDataset, told: Told) -> Advice | None:
    if not config["planner"]:
        return None
    return advise(
        Path(config["planner"]),
        config["checkpoint"],
        dataset,
        config["advice_every_ticks"],
        config["advice_candidates"],
        config["seed"],
        device_of(config["device"]),
        told,
    )


def _card(
    config: dict[str, Any],
    folder: Path,
    sizes: tuple[int, int, int, int],
    dataset: JoinedDataset,
    found: dict[str, Any],
) -> ExitCard:
    return ExitCard(
        checkpoint.digest_of(folder / checkpoint.WEIGHTS),
        *sizes,
        {"episodes": dataset.info["total_episodes"], "ticks": dataset.info["total_frames"]},
        {
            **msgspec.to_builtins(optimiser_of(config)),
            "advised_by": config["planner"] or None,
            "machine": machine(),
        },
        versions(),
        found,
    )


@torch.no_grad()
def scores(exits: nn.ModuleList, sampler: Sampler, met: list[Arrays]) -> dict[str, Any]:
    """Of each exit, by the scale of the noise that flows start from, its errors on what was met.

    velocity_error: root mean square along the whole network's own flow, as a share of the root mean
    square of the velocity. chunk_error: of the chunk, flown with this exit alone and the network's
    own number of steps, against the network's [standard deviations of the action].
    """
    found: dict[str, Any] = {"inputs": len(met)} if met else {}
    for scale in (0.0, 1.0) if met else ():
        flows = [_flown(exits, sampler, arrays, scale) for arrays in met]
        sums = torch.stack([torch.stack(flow) for flow in flows]).mean(0)
        found[f"noise {scale:g}"] = {
            f"behind_{number}": {
                "velocity_error": float((velocity / sums[0, -1]).sqrt()),
                "chunk_error": float(chunk.sqrt()),
            }
            for number, (velocity, chunk) in enumerate(sums.T[:-1], 1)
        }
    return found


def _flown(
    exits: nn.ModuleList, sampler: Sampler, arrays: Arrays, scale: float
) -> tuple[Tensor, Tensor]:
    """Mean squares over the free actions, of each exit and last of the network.

    First of the velocities' errors, for the network of the velocity itself; then of the chunks'.
    """
    network, steps = sampler.network, sampler.network.config.flow_steps
    given = {n: torch.from_numpy(np.array(a)) for n, a in arrays.items()}
    given["noise"] = given["noise"] * scale
    context = sampler.encode(given)
    source, fixed = sampler.start(given)
    free = torch.ones_like(source[:, :, 0]) if fixed is None else 1 - fixed
    count = len(exits) + 1
    flown, missed = [source] * count, source.new_zeros(count)
    for step in range(steps):
        tau = torch.full((1,), step / steps)
        here = [foretold(exits, network, x, tau, context, fixed) for x in flown]
        whole = here[-1]
        missed += torch.stack(
            [
                *(_mean_square(v - whole[-1], free) for v in whole[:-1]),
                _mean_square(whole[-1], free),
            ]
        )
        flown = [x + free[..., None] * here[n][n] / steps for n, x in enumerate(flown)]
    return missed / steps, torch.stack([_mean_square(x - flown[-1], free) for x in flown])


def _mean_square(x: Tensor, free: Tensor) -> Tensor:
    return (x.square().mean(-1) * free).sum() / free.sum()
