"""`dualsys train system2`: dataset -> trained planner (language model, heads, card)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from dualsys.errors import DualsysError
from dualsys.learning.cards import model_told, spare
from dualsys.learning.conversation import Conversations
from dualsys.learning.joined import JoinedDataset, open_datasets
from dualsys.learning.lineage import built_on, digest
from dualsys.learning.plan_labels import label_plans
from dualsys.learning.preparation import before_steps
from dualsys.learning.samples import system1_samples
from dualsys.learning.scene_targets import motion_fields
from dualsys.learning.train_system2 import PlannerModule, planner_losses
from dualsys.learning.trainer import optimiser_of, trained
from dualsys.learning.views import Views
from dualsys.runtime.results import machine, versions
from dualsys.spec import WorldSpec
from dualsys.system2.build import build
from dualsys.system2.checkpoint import Card, save_planner
from dualsys.system2.heads import Heads
from dualsys.system2.language import LanguageModel, describe
from dualsys.system2.questions import chain
from dualsys.system2.sizes import HeadsConfig, ModelSizes

KNOT_RATE_HZ = 20.0


def fit_planner(config: dict[str, Any], progress: Callable[[int, dict[str, float]], None]) -> Path:
    """Train (or go on training) and write the planner to `config["out"]`. Returns the folder."""
    torch.set_num_threads(config["threads"])
    spare(Path(config["out"]), "system2")
    folder, dataset = Path(config["out"]), open_datasets(config["data"], before_steps(progress))
    rows = np.arange(0, len(dataset.state), config["every_ticks"])
    label_plans(dataset, config["plans"], rows)
    language = _language(config, folder, dataset, rows)
    sizes = _sizes(config, language, dataset.spec)
    samples = _drawn_in(config, dataset, rows)
    views = Views(dataset, language, rows, samples)
    conversations = Conversations(dataset, views, sizes)
    ground = built_on(dataset, others=[config["prompts_from"]])
    ground["contents of the language model"] = digest(language.model.state_dict().items())
    optimiser = optimiser_of(config)
    torch.manual_seed(config["seed"])
    if optimiser.device == "cpu":
        # Its backward pass is a third faster there than the fused attention's.
        language.model.set_attn_implementation("eager")
    objects = len(motion_fields(dataset.spec))
    module = PlannerModule(_adapted(language.model, config["lora_rank"]), Heads(sizes), objects)
    module.heads.value.requires_grad_(False)  # the value is learned apart, from failures too
    weights = dict(config["weights"])
    averaged = trained(
        module,
        lambda batch: planner_losses(module, batch),
        weights,
        conversations.of_step,
        config,
        folder / "training",
        progress,
        ground,
    )
    module.load_state_dict(averaged)
    model: Any = module.language
    if hasattr(model, "merge_and_unload"):
        language.model = model.merge_and_unload()
    card = _card(config, dataset, language, module.heads, sizes)
    tensors = {name: torch.from_numpy(value) for name, value in views.normalisation.items()}
    save_planner(folder, language, module.heads, tensors, card)
    return folder


def _sizes(config: dict[str, Any], language: LanguageModel, spec: WorldSpec) -> HeadsConfig:
    return HeadsConfig(
        text_width=language.text_width,
        state_size=len(spec.state),
        action_size=len(spec.action),
        plans=len(spec.plans),
        stride_ticks=max(1, round(spec.control_rate_hz / KNOT_RATE_HZ)),
        **config["heads"],
    )


def _drawn_in(
    config: dict[str, Any], dataset: JoinedDataset, rows: np.ndarray
) -> np.ndarray | None:
    """System 1's samples (N, K, T, A) to be drawn into the images; None to draw none."""
    if not config["prompts_from"]:
        return None
    count = config["prompt_samples"]
    if count < 1:
        raise DualsysError(f"prompt_samples must be one or more, it is {count}")
    return system1_samples(Path(config["prompts_from"]), dataset, rows, count)


def _card(
    config: dict[str, Any],
    dataset: JoinedDataset,
    language: LanguageModel,
    heads: Heads,
    sizes: HeadsConfig,
) -> Card:
    return Card(
        heads=sizes,
        spec=dataset.spec,
        prompts=bool(config["prompts_from"]),
        prompt_samples=config["prompt_samples"],
        data={"episodes": dataset.info["total_episodes"], "ticks": dataset.info["total_frames"]},
        training={
            **msgspec.to_builtins(optimiser_of(config)),
            "weights": dict(config["weights"]),
            "plans": config["plans"],
            "prompts_from": config["prompts_from"] or None,
            "machine": machine(),
        },
        versions=versions(),
        scores={},
        model=model_told(language.model, heads, config["base"], config["lora_rank"]),
    )


def _language(
    config: dict[str, Any], folder: Path, dataset: JoinedDataset, rows: np.ndarray
) -> LanguageModel:
    """The checkpoint to start from: a given one, or a small one of our own."""
    if config["base"]:
        return LanguageModel.load(Path(config["base"]))
    start = folder / "start"
    if not (start / "config.json").is_file():
        build(start, ModelSizes(**config["model"]), sentences(dataset, rows), config["seed"])
    return LanguageModel.load(start)


def sentences(dataset: JoinedDataset, rows: np.ndarray) -> list[str]:
    """Text as it occurs in conversations about `rows`, for training the tokenizer."""
    instructions = dataset.instructions()
    some = rows[:: max(1, len(rows) // 2000)]
    found = [describe(dataset.spec, dataset.state[row], instructions[row]) for row in some]
    for question in chain(dataset.spec):
        found += [f" {phrase}" for phrase in question.phrasings] * 20
        found += [f" {word}," for slot in question.slots for word in slot.words] * 20
    return found


def _adapted(model: torch.nn.Module, lora_rank: int) -> torch.nn.Module:
    """The whole model, or low-rank adapters (LoRA) on its attention for larger checkpoints."""
    if lora_rank == 0:
        return model
    if lora_rank < 0:
        raise DualsysError(f"lora_rank must be zero (train everything) or more, it is {lora_rank}")
    from peft import LoraConfig, get_peft_model

    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "out_proj"]
    adapters = LoraConfig(r=lora_rank, lora_alpha=2 * lora_rank, target_modules=targets)
    adapted: torch.nn.Module = get_peft_model(model, adapters)
    return adapted
