"""What trainings write into a planner's card."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import msgspec
from omegaconf import OmegaConf
from torch import nn

from dualsys.config import config_folder
from dualsys.errors import DualsysError
from dualsys.learning.lineage import digest
from dualsys.learning.trainer import optimiser_of
from dualsys.runtime.results import machine, versions
from dualsys.system2.checkpoint import CARD, Card, Planning, load_card
from dualsys.system2.sizes import ModelSizes


def parameters(module: nn.Module) -> int:
    """How many values a module has learned; those that are shared count once."""
    return sum(parameter.numel() for parameter in module.parameters())


def model_told(
    language: nn.Module, heads: nn.Module, base: str | None = None, lora_rank: int = 0
) -> dict[str, Any]:
    """Which model a planner is: what it was built or taken from, and how large.

    `base` is the checkpoint that it was tuned from, with adapters of `lora_rank` if that is not 0.
    """
    sizes = None if base else sizes_of(language.config)
    return {
        "class": type(language).__name__,
        "name": None if sizes is None else _name_of(sizes),
        "parameters": parameters(language),
        "heads_parameters": parameters(heads),
        "base": base or None,
        "lora_rank": lora_rank,
        "sizes": sizes,
    }


def model_of(planning: Planning) -> dict[str, Any]:
    """As `model_told`, of a planner that is there, whose card may be older and say nothing."""
    told = planning.card.model
    history = told.get("base"), told.get("lora_rank", 0)
    return model_told(planning.language.model, planning.heads, *history)


def sizes_of(config: Any) -> dict[str, int] | None:
    """The `ModelSizes` of a model of this project's own build, read off its configuration."""
    if config.model_type != "idefics3":
        return None
    vision, text = config.vision_config, config.text_config
    sizes = ModelSizes(
        image_px=vision.image_size,
        patch_px=vision.patch_size,
        shuffle=config.scale_factor,
        vision_width=vision.hidden_size,
        vision_layers=vision.num_hidden_layers,
        vision_heads=vision.num_attention_heads,
        text_width=text.hidden_size,
        text_layers=text.num_hidden_layers,
        text_heads=text.num_attention_heads,
        key_value_heads=text.num_key_value_heads,
        vocabulary=text.vocab_size,
        positions=text.max_position_embeddings,
    )
    return dataclasses.asdict(sizes)


def _name_of(sizes: dict[str, int]) -> str | None:
    """What `model=` builds these sizes, such as "small"; None where none of its choices does."""
    for path in sorted((config_folder() / "model").glob("*.yaml")):
        values: Any = OmegaConf.load(path)
        if all(sizes[key] == value for key, value in values.items()):
            return path.stem
    return None


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


def spare(folder: Path, training: str) -> None:
    """Refuse to write over a planner that has learned more since: `training` would undo it.

    Raises `DualsysError` that names what came later.
    """
    if not (folder / CARD).is_file():
        return
    told = load_card(folder).training
    trainings = [name for name, how in told.items() if isinstance(how, dict) and "versions" in how]
    if training in trainings:
        trainings = trainings[trainings.index(training) + 1 :]
    if trainings:
        raise DualsysError(
            f"the planner in {folder} went on to learn {', '.join(trainings)} after `dualsys train "
            f"{training}`, which would write over it; give another out=, or move {folder} away"
        )


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
