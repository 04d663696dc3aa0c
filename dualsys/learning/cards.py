"""What trainings write into a planner's card."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
from torch import nn

from dualsys.learning.lineage import digest
from dualsys.learning.trainer import optimiser_of
from dualsys.runtime.results import machine, versions
from dualsys.system2.checkpoint import Card, Planning


def parameters(module: nn.Module) -> int:
    """How many values a module has learned; those that are shared count once."""
    return sum(parameter.numel() for parameter in module.parameters())


def model_told(config: dict[str, Any], language: nn.Module, heads: nn.Module) -> dict[str, Any]:
    """Which model `dualsys train system2` made: what it was built or taken from, and how large."""
    return {
        "class": type(language).__name__,
        "parameters": parameters(language),
        "heads_parameters": parameters(heads),
        "base": config["base"] or None,
        "lora_rank": config["lora_rank"],
        "sizes": None if config["base"] else dict(config["model"]),
    }


def gone_on(card: Card, training: str, config: dict[str, Any], told: dict[str, Any]) -> Card:
    """The card after one more `training`, which is described by `told` and its configuration.

    The scores are those of the weights before, and are cleared.
    """
    described = {
        **msgspec.to_builtins(optimiser_of(config)),
        "prompts_from": config["prompts_from"] or None,
        **told,
        "machine": machine(),
        "versions": versions(),
    }
    before = {name: how for name, how in card.training.items() if name != training}
    return msgspec.structs.replace(card, training={**before, training: described}, scores={})


def value_inputs(planning: Planning) -> str:
    """Digest of all weights through which the value head sees: what it learned holds for these."""
    parts = {
        "language": planning.language.model.state_dict(),
        "readout": planning.heads.readout.state_dict(),
        "scale": planning.normalisation,
    }
    return digest((f"{part}.{k}", v) for part, named in parts.items() for k, v in named.items())


def without_stale_value(card: Card, before: str, after: str, folder: Path) -> Card:
    """The card of the planner in `folder`, without its value's training where that holds no more.

    `before` and `after` are the planner's `value_inputs`: if they differ, a line says what to do.
    """
    if before == after or "value" not in card.training:
        return card
    sys.stderr.write(
        f"dualsys train: what the value head of {folder} reads has changed, so it counts as "
        f"untrained; train it again: dualsys train value planner={folder}\n"
    )
    training = {name: how for name, how in card.training.items() if name != "value"}
    return msgspec.structs.replace(card, training=training)
