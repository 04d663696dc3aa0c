"""`dualsys train instruct`: plans tried out in the simulator teach a planner to prefer better."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dualsys.device import device_of
from dualsys.errors import DualsysError
from dualsys.learning.cards import gone_on
from dualsys.learning.conversation import Conversations, padded
from dualsys.learning.dataset import open_datasets
from dualsys.learning.plan_labels import label_plans
from dualsys.learning.thoughts import views_of
from dualsys.learning.train_instruct import (
    Fork,
    InstructBatch,
    TriedPlans,
    forks,
    instruct_losses,
    log_probabilities,
)
from dualsys.learning.train_system2 import PlannerModule
from dualsys.learning.trainer import to_device, trained
from dualsys.learning.views import Views
from dualsys.statistics import bootstrap_by
from dualsys.system2 import checkpoint
from dualsys.system2.checkpoint import Planning, save_planner
from dualsys.system2.questions import chain
from dualsys.whatif.plan_scores import PlanScores, load_scores
from sim.driving.terms import Terms

HELD_OUT = 0.25  # share of the episodes that is kept for the score before and after
BATCH = 32


class Tried:
    """Tried states as batches; the states of some episodes are held out.

    scores (M, P); episodes int (M,), of which episode each state is; chance (taught,), how likely
    a state is to be drawn.
    """

    def __init__(
        self, planning: Planning, views: Views, scores: np.ndarray, episodes: np.ndarray
    ) -> None:
        self._planning, self._views = planning, views
        self.scores = torch.from_numpy(scores.astype(np.float32))
        # Drawn, not the last ones: datasets go scenario by scenario.
        drawn = np.random.default_rng(0).permutation(np.unique(episodes))
        held = np.isin(episodes, drawn[: math.ceil(HELD_OUT * len(drawn))])
        self.taught, self.held = np.flatnonzero(~held), np.flatnonzero(held).tolist()
        # Where the plan decides more, more often: with advantages in units of the state's own
        # spread that is the gradient of the mean score, and states that no plan changes cost
        # nothing (most are such, safe or lost whatever is said).
        spread = scores[self.taught].std(1)
        self.chance = spread / max(spread.sum(), 1e-12)
        self._said, self._mask, self._forks = _plan_turns(views)
        self._episodes = episodes
        self.before = self.probabilities(list(range(len(scores)))).detach()

    def batch(self, places: list[int], before: Tensor | None = None) -> TriedPlans:
        """The states at `places`."""
        drawn = np.full(len(places), self._planning.card.prompts)
        prompt = self._views.prompt(places, drawn)
        known = torch.zeros_like(self.scores[places]) if before is None else before[places]
        turns = (self._said, self._mask, self._forks)
        return TriedPlans(prompt, *turns, self.scores[places], known)

    def of_step(self, rng: np.random.Generator, size: int) -> TriedPlans:
        """A batch of training states, each as likely as its plans differ."""
        return self.batch(rng.choice(self.taught, size, p=self.chance).tolist(), self.before)

    @torch.inference_mode()
    def probabilities(self, places: list[int]) -> Tensor:
        """Log-probabilities (M, P) of the plans as the model is now."""
        model, device = self._planning.language.model, str(self._planning.device)
        parts = [
            log_probabilities(model, to_device(self.batch(places[at : at + BATCH]), device))
            for at in range(0, len(places), BATCH)
        ]
        return torch.cat(parts).cpu().clone()

    def verdict(self) -> dict[str, Any]:
        """Mean score of the plan chosen on held-out states, before and now.

        The interval draws whole episodes; of a single one, it is not known (nan).
        """
        places = self.held
        scores = self.scores[places].numpy()
        rows = np.arange(len(places))
        old = scores[rows, self.before[places].argmax(1).numpy()]
        new = scores[rows, self.probabilities(places).argmax(1).numpy()]
        episodes = self._episodes[places]
        return {
            "held_out_states": len(places),
            "held_out_episodes": len(np.unique(episodes)),
            "score_before": float(old.mean()),
            "score_after": float(new.mean()),
            "difference": float((new - old).mean()),
            "difference_ci95": list(bootstrap_by(episodes, new - old)),
            "score_of_random_plan": float(scores.mean()),
            "score_of_best_plan": float(scores.max(1).mean()),
            "changed": float(np.mean(old != new)),
        }


def _plan_turns(views: Views) -> tuple[Tensor, Tensor, tuple[Fork, ...]]:
    """What is said up to the places where plans part: tokens (S, K), which are there, the forks."""
    question = chain(views.spec)[-1]
    turns = [views.exchange(question.phrasings[0], question.write((p,))) for p in views.spec.plans]
    found = forks(turns[0][0], [answer for _, answer in turns])
    ways = {fork.said: way for way, fork in found}
    said, mask = padded([ways[number] for number in range(len(ways))])
    return said, mask, tuple(fork for _, fork in found)


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
