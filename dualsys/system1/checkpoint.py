"""System-1 checkpoints: `model.safetensors` + `card.json` (what it is, from what, how good).

The card carries the network's sizes and the WorldSpec it was trained for; tensors hold weights and
normalisation. No pickle.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import load_file, save_file

from dualsys.errors import DualsysError
from dualsys.finite import require_finite
from dualsys.spec import WorldSpec, require_same
from dualsys.system1.network import NetworkConfig, System1Network
from dualsys.system1.sampler import Sampler

WEIGHTS, CARD = "model.safetensors", "card.json"
NORMALISATION = ("state_mean", "state_std", "action_mean", "action_std")


class Card(msgspec.Struct, frozen=True):
    """The model card: everything a user needs to judge and to rebuild the checkpoint."""

    network: NetworkConfig
    spec: WorldSpec
    data: dict[str, Any]
    training: dict[str, Any]
    versions: dict[str, str]
    scores: dict[str, Any]
    licence: str = "Apache-2.0"


def save(
    folder: Path, network: System1Network, normalisation: dict[str, torch.Tensor], card: Card
) -> None:
    """Write the checkpoint; each file appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"network.{k}": v.detach().contiguous() for k, v in network.state_dict().items()}
    tensors |= {name: normalisation[name].contiguous() for name in NORMALISATION}
    partial = folder / f"{WEIGHTS}.partial"
    save_file(tensors, partial)
    partial.replace(folder / WEIGHTS)
    partial = folder / f"{CARD}.partial"
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=1))
    partial.replace(folder / CARD)


def digest_of(file: Path) -> str:
    """What stands in a file, in sixteen digits."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def load_card(folder: Path) -> Card:
    """Read the model card. Raises `DualsysError` when there is none or it is not one."""
    path = folder / CARD
    if not path.is_file() or not (folder / WEIGHTS).is_file():
        raise DualsysError(
            f"no System-1 checkpoint at {folder} ({CARD} and {WEIGHTS} are needed); "
            "train one with `dualsys train system1` or give system1.checkpoint=DIR"
        )
    try:
        return msgspec.json.decode(path.read_bytes(), type=Card)
    except msgspec.DecodeError as error:
        raise DualsysError(f"{path} is not a System-1 model card: {error}") from error


def load(folder: Path, spec: WorldSpec | None = None, samples: int = 1) -> tuple[Sampler, Card]:
    """Load a checkpoint as a `Sampler` in evaluation mode; refuse it for another world's `spec`."""
    card = load_card(folder)
    if spec is not None:
        require_same(spec, card.spec, "the world", f"the checkpoint {folder}")
    tensors = load_file(folder / WEIGHTS)
    network = System1Network(card.network)
    weights = {k.removeprefix("network."): v for k, v in tensors.items() if k[:8] == "network."}
    try:
        network.load_state_dict(weights)
        normalisation = {name: tensors[name] for name in NORMALISATION}
    except (RuntimeError, KeyError) as error:
        raise DualsysError(
            f"the weights in {folder} are not those of its model card: {error}; train it again"
        ) from error
    require_finite(tensors, folder)
    return Sampler(network, normalisation, samples).eval(), card
