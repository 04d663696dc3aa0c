"""`dualsys train instruct`: plans tried out in the simulator teach a planner to prefer better."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from dualsys.device import device_of
from dualsys.errors import DualsysError
from dualsys.learning.cards import gone_on, spare, value_inputs, without_stale_value
from dualsys.learning.conversation import Conversations
from dualsys.learning.foretold import PlanWorth
from dualsys.learning.joined import JoinedDataset, open_datasets
from dualsys.learning.lineage import built_on
from dualsys.learning.plan_labels import label_plans
from dualsys.learning.preparation import Told, before_steps
from dualsys.learning.thoughts import views_of
from dualsys.learning.train_instruct import InstructBatch, instruct_losses
from dualsys.learning.train_system2 import PlannerModule, set_aside
from dualsys.learning.trainer import trained
from dualsys.learning.tried_plans import Tried, held_out
from dualsys.system2 import checkpoint
from dualsys.system2.checkpoint import Planning, save_planner
from dualsys.whatif.plan_scores import PlanScores, load_scores
from sim.driving.terms import Terms
from sim.registry import require_training

Config = dict[str, Any]


def fit_instruct(config: Config, progress: Callable[[int, dict[str, float]], None]) -> Path:
    """Train (or go on training) from the planner in `config["planner"]` into `config["out"]`."""
    torch.set_num_threads(config["threads"])
    folder, weights = Path(config["out"]), dict(config["weights"])
    spare(folder, "instruct")
    planning = checkpoint.load(Path(config["planner"]), device=device_of(config["device"]))
    before = value_inputs(planning)
    scores = load_scores(Path(config["scores"]))
    told = before_steps(progress)
    driven = open_datasets([scores.data, *config["driven"]], told)
    tried, worth, about = _tried(planning, driven, scores, config, told)
    dataset = open_datasets(config["data"], told)
    conversations = _taught(planning, dataset, config, tried.held_seeds, worth)
    torch.manual_seed(config["seed"])
    module = PlannerModule(planning.language.model, planning.heads)
    valued = set_aside(module.heads.value)
    others = [config["scores"], config["prompts_from"]]

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
        built_on(dataset, driven, planner=config["planner"], others=others),
    )
    module.load_state_dict(averaged)
    module.heads.value.load_state_dict(valued)
    facts = {"weights": weights, "terms": config["terms"], "plans": config["plans"]}
    facts |= {**about, **tried.verdict(), "tried": scores.about}
    card = gone_on(planning.card, "instruct", config, facts)
    card = without_stale_value(card, before, value_inputs(planning), folder)
    save_planner(folder, planning.language, planning.heads, planning.normalisation, card)
    return folder


def _taught(
    planning: Planning,
    dataset: JoinedDataset,
    config: Config,
    held_seeds: np.ndarray,
    worth: PlanWorth,
) -> Conversations:
    """What the supervised terms learn from: no drive that is held out."""
    rows = np.arange(0, len(dataset.state), config["every_ticks"])
    rows = rows[~np.isin(dataset.seeds()[rows], held_seeds)]
    label_plans(dataset, config["plans"], rows, worth)
    views = views_of(planning, dataset, rows, config["prompts_from"])
    return Conversations(dataset, views, planning.heads.config)


class States(msgspec.Struct, frozen=True):
    """States that a planner is asked about: rows of a dataset, the plans' scores, the seeds.

    rows int (N,); scores (N, P); seeds int (N,), of the drives; held bool (N,), kept out of the
    training: all states of a seed, for its drives begin alike in every scenario of a kind.
    """

    rows: np.ndarray
    scores: np.ndarray
    seeds: np.ndarray
    held: np.ndarray


def _tried(
    planning: Planning, dataset: JoinedDataset, scores: PlanScores, config: Config, told: Told
) -> tuple[Tried, PlanWorth, dict[str, Any]]:
    """The states to learn from, what foretells the worth of plans, and how well it does."""
    if scores.plans != planning.card.spec.plans:
        raise DualsysError(
            f"the scores are of the plans {list(scores.plans)}, the planner knows "
            f"{list(planning.card.spec.plans)}; score the plans of this world"
        )
    require_training(dataset.drives())
    rows, seeds = np.array(scores.rows), dataset.seeds()
    if len(np.unique(seeds[rows])) < 2:
        raise DualsysError(
            f"all {len(rows)} states of {config['scores']} are of one seed, so that none can be "
            "held out; try plans in drives of more seeds"
        )
    held = held_out(seeds[rows])
    known = States(rows, scores.scores(Terms(**config["terms"])), seeds[rows], held)
    taught = rows[~held]
    seen = dataset.state[taught], dataset.scene[taught]
    worth = PlanWorth(dataset.spec, *seen, known.scores[~held])
    more = _foretold(dataset, known, worth, config)
    both = zip(msgspec.structs.astuple(known), msgspec.structs.astuple(more), strict=True)
    every = States(*(np.concatenate(parts) for parts in both))
    views = views_of(planning, dataset, every.rows, config["prompts_from"])
    tried = Tried(planning, views, every.scores, every.seeds, every.held, told)
    if not tried.chance.any():
        raise DualsysError(
            f"in none of the {len(tried.taught)} states of {config['scores']} that are learned "
            "from does it matter which plan is told; try plans in more states, nearer to harm"
        )
    kept = rows[held]
    best = worth.gains(dataset.state[kept], dataset.scene[kept]).argmax(1)
    reference = float(known.scores[held][np.arange(len(kept)), best].mean())
    about: dict[str, Any] = {"tried_states": len(rows), "foretold_states": len(more.rows)}
    about["score_of_foretold_plan"] = reference
    return tried, worth, about


def _foretold(dataset: JoinedDataset, known: States, worth: PlanWorth, config: Config) -> States:
    """Further states, with the scores that `worth` foretells, drawn by how much plans differ."""
    seeds = dataset.seeds()
    rows = np.arange(0, len(seeds), config["every_ticks"])
    rows = rows[~np.isin(seeds[rows], known.seeds[known.held]) & ~np.isin(rows, known.rows)]
    gains = worth.gains(dataset.state[rows], dataset.scene[rows])
    spread = gains.std(1)
    count = min(config["foretold_states"], int((spread > 0).sum()))
    chance = spread / max(spread.sum(), 1e-12)
    rng = np.random.default_rng(config["seed"])
    drawn = np.zeros(0, int)
    if count:
        drawn = np.sort(rng.choice(len(rows), count, replace=False, p=chance))
    chosen = rows[drawn]
    return States(chosen, gains[drawn], seeds[chosen], np.zeros(len(drawn), bool))
