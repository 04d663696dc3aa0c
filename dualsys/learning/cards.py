"""What trainings write into a planner's card."""

from __future__ import annotations

from typing import Any

import msgspec
from torch import nn

from dualsys.learning.trainer import optimiser_of
from dualsys.runtime.results import machine, versions
from dualsys.system2.checkpoint import Card


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
    trainings = {**card.training, training: described}
    return msgspec.structs.replace(card, training=trainings, scores={})
