"""`dualsys train system1`: dataset -> trained checkpoint with its model card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from dualsys.device import device_of
from dualsys.errors import DualsysError
from dualsys.learning.advice import Advice, advise
from dualsys.learning.batches import BatchConfig, Batches
from dualsys.learning.joined import JoinedDataset, open_datasets
from dualsys.learning.lineage import built_on
from dualsys.learning.preparation import Told, before_steps
from dualsys.learning.train_system1 import losses
from dualsys.learning.trainer import optimiser_of, trained
from dualsys.runtime.results import machine, versions
from dualsys.spec import WorldSpec
from dualsys.system1 import checkpoint
from dualsys.system1.network import NetworkConfig, System1Network


def fit_policy(config: dict[str, Any], progress: Callable[[int, dict[str, float]], None]) -> Path:
    """Train (or go on training) and write the checkpoint to `config["out"]`. Returns the folder."""
    _require_planner(config)
    torch.set_num_threads(config["threads"])
    folder, told = Path(config["out"]), before_steps(progress)
    dataset = open_datasets(config["data"], told)
    spec, perceived = dataset.spec, _perceived(config, dataset.spec)
    sizes = NetworkConfig(
        cameras=tuple((c.name, c.height, c.width, c.channels) for c in spec.cameras),
        state_size=len(spec.state),
        action_size=len(spec.action),
        plans=len(spec.plans),
        perceived_size=len(perceived),
        **config["network"],
    )
    torch.manual_seed(config["seed"])
    network, normalisation = _start(config["start"], sizes, spec)
    batches = Batches(
        dataset,
        spec,
        _batch_config(config, spec),
        sizes,
        perceived,
        normalisation,
        _advice(config, dataset, told),
    )
    weights = trained(
        network,
        lambda batch: losses(network, batch),
        _weights(config),
        batches.of_step,
        config,
        folder,
        progress,
        _ground(config, dataset),
    )
    averaged = System1Network(sizes)
    averaged.load_state_dict(weights)
    checkpoint.save(folder, averaged.eval(), batches.normalisation, _card(config, sizes, dataset))
    return folder


def _ground(config: dict[str, Any], dataset: JoinedDataset) -> dict[str, Any]:
    others = [config["start"], config["prompts_from"]]
    return built_on(dataset, planner=config["planner"], others=others)


def _perceived(config: dict[str, Any], spec: WorldSpec) -> list[tuple[int, int]]:
    """Places in the scene that the network learns to perceive."""
    for row, column in config["perceive"]:
        if not (0 <= row < spec.scene_rows and 0 <= column < len(spec.scene_fields)):
            raise DualsysError(
                f"perceive names scene value ({row}, {column}), the scene has {spec.scene_rows} "
                f"rows of {list(spec.scene_fields)}"
            )
    return [(row, column) for row, column in config["perceive"]]


def _batch_config(config: dict[str, Any], spec: WorldSpec) -> BatchConfig:
    return BatchConfig(
        config["plan_dropout"],
        config["candidate_rate"],
        round(config["max_plan_age_s"] * spec.control_rate_hz),
        config["shift_px"],
        config["commit_rate"],
    )


def _weights(config: dict[str, Any]) -> dict[str, float]:
    names = ("laplace", "perceive")
    return {"flow": 1.0, **{name: config[f"{name}_weight"] for name in names}}


def _card(config: dict[str, Any], sizes: NetworkConfig, dataset: JoinedDataset) -> checkpoint.Card:
    return checkpoint.Card(
        network=sizes,
        spec=dataset.spec,
        data={"episodes": dataset.info["total_episodes"], "ticks": dataset.info["total_frames"]},
        training={
            **msgspec.to_builtins(optimiser_of(config)),
            "weights": _weights(config),
            "batches": msgspec.to_builtins(_batch_config(config, dataset.spec)),
            "advised_by": config["planner"] or None,
            "started_from": _training_of(config["start"]),
            "machine": machine(),
        },
        versions=versions(),
        scores={},
    )


def _start(
    folder: str, sizes: NetworkConfig, spec: WorldSpec
) -> tuple[System1Network, dict[str, np.ndarray] | None]:
    """A network of random weights, or the one in `folder` with its normalisation."""
    if not folder:
        return System1Network(sizes), None
    sampler, card = checkpoint.load(Path(folder), spec)
    # How long a committed beginning may be is no weight's matter.
    if msgspec.structs.replace(card.network, commit_ticks=sizes.commit_ticks) != sizes:
        differ = [
            f"{name}: {getattr(card.network, name)} there, {getattr(sizes, name)} configured"
            for name in sizes.__struct_fields__
            if getattr(card.network, name) != getattr(sizes, name)
        ]
        raise DualsysError(f"start={folder} is a network of other sizes ({'; '.join(differ)})")
    network, names = System1Network(sizes), checkpoint.NORMALISATION
    network.load_state_dict(sampler.network.state_dict())
    return network.train(), {name: sampler.get_buffer(name).numpy() for name in names}


def _training_of(folder: str) -> dict[str, Any] | None:
    """How the checkpoint in `folder` was trained, so that a card tells the whole history."""
    if not folder:
        return None
    card = checkpoint.load_card(Path(folder))
    return {"data": card.data, "training": card.training}


def _require_planner(config: dict[str, Any]) -> None:
    """Refuse to go on from a System 1 that learned a planner's codes without that planner."""
    if config["planner"] or not config["start"]:
        return
    history = _training_of(config["start"])
    while history is not None:
        advised = history["training"].get("advised_by")
        if advised:
            raise DualsysError(
                f"start={config['start']} learned the codes of the planner {advised}; without "
                "planner= every code would be empty and it would unlearn them; give planner=FOLDER"
            )
        history = history["training"].get("started_from")


def _advice(config: dict[str, Any], dataset: JoinedDataset, told: Told) -> Advice | None:
    if not config["planner"]:
        return None
    return advise(
        Path(config["planner"]),
        config["prompts_from"] or config["start"],
        dataset,
        config["advice_every_ticks"],
        config["advice_candidates"],
        config["seed"],
        device_of(config["device"]),
        told,
    )
