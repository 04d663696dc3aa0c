"""`dualsys train instruct`: plans tried out in the simulator teach a planner to prefer better."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dualsys.device import device_of
from dualsys.errors import DualsysError
from dualsys.learning.cards import gone_on
from dualsys.learning.conversation import Conversations
from dualsys.learning.dataset import open_datasets
from dualsys.learning.plan_labels import label_plans
from dualsys.learning.thoughts import views_of
from dualsys.learning.train_instruct import InstructBatch, instruct_losses
from dualsys.learning.train_system2 import PlannerModule
from dualsys.learning.trainer import trained
from dualsys.learning.tried_plans import Tried
from dualsys.system2 import checkpoint
from dualsys.system2.checkpoint import Planning, save_planner
from dualsys.whatif.plan_scores import PlanScores, load_scores
from sim.driving.terms import Terms
from sim.registry import require_training


def fit_instruct(config: dict[str, Any], progress: Callable[[int, dict[str, float]], None]) -> Path:
    """Train (or go on training) from the planner in `config["planner"]` into `config["out"]`."""
    torch.set_num_threads(config["threads"])
    folder, weights = Path(config["out"]), dict(config["weights"])
    planning = checkpoint.load(Path(config["planner"]), device=device_of(config["device"]))
    scores = load_scores(Path(config["scores"]))
    tried = _tried(planning, scores, config)
    dataset = open_datasets(config["data"])
    rows = np.arange(0, len(dataset.state), config["every_ticks"])
    label_plans(dataset, config["plans"], rows)
    views = views_of(planning, dataset, rows, config["prompts_from"])
    conversations = Conversations(dataset, views, planning.heads.config)
    torch.manual_seed(config["seed"])
    module = PlannerModule(planning.language.model, planning.heads)
    module.heads.value.requires_grad_(False)

    def draw(seed: int, step: int, size: int) -> InstructBatch:
        rng = np.random.default_rng((seed, step, 1))
        return InstructBatch(
            tried.of_step(rng, config["states"]), conversations.of_step(seed, step, size)
        )

    averaged = trained(
        module,
        lambda batch: instruct_losses(module, batch),
        weights,
        draw,
        config,
        folder / "training",
        progress,
    )
    module.load_state_dict(averaged)
    told = {"weights": weights, "terms": config["terms"], "plans": config["plans"]}
    told |= {**tried.verdict(), "tried": scores.about}
    card = gone_on(planning.card, "instruct", config, told)
    save_planner(folder, planning.language, planning.heads, planning.normalisation, card)
    return folder


def _tried(planning: Planning, scores: PlanScores, config: dict[str, Any]) -> Tried:
    if scores.plans != planning.card.spec.plans:
        raise DualsysError(
            f"the scores are of the plans {list(scores.plans)}, the planner knows "
            f"{list(planning.card.spec.plans)}; score the plans of this world"
        )
    dataset = open_datasets(scores.data)
    rows = np.array(scores.rows)
    require_training(dataset.drives())
    views = views_of(planning, dataset, rows, config["prompts_from"])
    episodes, _ = dataset.episode_bounds()
    if len(np.unique(episodes[rows])) < 2:
        raise DualsysError(
            f"all {len(rows)} states of {config['scores']} are of one episode, so that none can be "
            "held out; try plans in more episodes"
        )
    tried = Tried(planning, views, scores.scores(Terms(**config["terms"])), episodes[rows])
    if not tried.chance.any():
        raise DualsysError(
            f"in none of the {len(tried.taught)} states of {config['scores']} that are learned "
            "from does it matter which plan is told; try plans in more states, nearer to harm"
        )
    return tried
