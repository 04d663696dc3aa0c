"""States in which every plan was tried out, as batches of what is said there.

The plan is asked for at once, or after the questions of a short thought, which the planner answers
itself: a run's first guidance is said the one way, its last the other.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dualsys.learning.conversation import padded
from dualsys.learning.preparation import Told, quiet, spans
from dualsys.learning.train_instruct import Fork, TriedPlans, forks, log_probabilities
from dualsys.learning.trainer import to_device
from dualsys.learning.views import Views
from dualsys.statistics import bootstrap_by
from dualsys.system2.checkpoint import Planning
from dualsys.system2.grammar import AnswerGrammar
from dualsys.system2.questions import asked, chain

HELD_OUT = 0.25  # share of the seeds that is kept for the score before and after
BATCH = 32
ASKED = ("at_once", "after_questions")


def held_out(seeds: np.ndarray) -> np.ndarray:
    """Which states are kept out of the training: all those of drawn seeds. seeds int (N,)."""
    drawn = np.random.default_rng(0).permutation(np.unique(seeds))
    return np.isin(seeds, drawn[: math.ceil(HELD_OUT * len(drawn))])


class Tried:
    """Tried states as batches; `held` ones are for the verdict alone.

    scores (M, P); seeds int (M,), of which drive each state is; held bool (M,); chance (taught,),
    how likely a state is to be drawn; before (asked, M, P), log-probabilities of the plans before
    training.
    """

    def __init__(
        self,
        planning: Planning,
        views: Views,
        scores: np.ndarray,
        seeds: np.ndarray,
        held: np.ndarray,
        told: Told = quiet,
    ) -> None:
        self._planning, self._views = planning, views
        self.scores = torch.from_numpy(scores.astype(np.float32))
        self.taught, self.held = np.flatnonzero(~held), np.flatnonzero(held).tolist()
        self.held_seeds = np.unique(seeds[held])
        # Where the plan decides more, more often: with advantages in units of the state's own
        # spread that is the gradient of the mean score, and states that no plan changes cost
        # nothing (most are such, safe or lost whatever is said).
        spread = scores[self.taught].std(1)
        self.chance = spread / max(spread.sum(), 1e-12)
        self._ways, self._forks = _plan_turns(views)
        self._seeds = seeds
        places = list(range(len(scores)))
        at_once: list[list[int]] = [[] for _ in places]
        answered = [self._own_answers(*one) for one in spans(len(places), 1, "asking", told)]
        self._leads = [at_once, answered]
        self.before = torch.stack([self.probabilities(places, how) for how in range(len(ASKED))])

    def batch(self, places: list[int], how: list[int], known: bool = True) -> TriedPlans:
        """The states at `places`, each asked in its own way; without what is `known` of before."""
        drawn = np.full(len(places), self._planning.card.prompts)
        leads = [self._leads[h][place] for h, place in zip(how, places, strict=True)]
        said, mask = padded([[*lead, *way] for lead in leads for way in self._ways])
        each = (len(places), len(self._ways), -1)
        scores = self.scores[places]
        return TriedPlans(
            self._views.prompt(places, drawn),
            said.view(each),
            mask.view(each),
            torch.tensor([len(lead) for lead in leads]),
            self._forks,
            scores,
            self.before[how, places] if known else torch.zeros_like(scores),
        )

    def of_step(self, rng: np.random.Generator, size: int) -> TriedPlans:
        """A batch of training states, each as likely as its plans differ."""
        places = rng.choice(self.taught, size, p=self.chance).tolist()
        return self.batch(places, rng.integers(len(ASKED), size=size).tolist())

    @torch.inference_mode()
    def probabilities(self, places: list[int], how: int) -> Tensor:
        """Log-probabilities (M, P) of the plans as the model is now."""
        model, device = self._planning.language.model, str(self._planning.device)
        parts = []
        for at in range(0, len(places), BATCH):
            part = places[at : at + BATCH]
            batch = self.batch(part, [how] * len(part), known=False)
            parts.append(log_probabilities(model, to_device(batch, device)))
        return torch.cat(parts).cpu().clone()

    def verdict(self) -> dict[str, Any]:
        """Mean score of the plan chosen on held-out states, before and now, asked in both ways.

        Intervals draw whole seeds; of a single one, they are not known (nan).
        """
        places = self.held
        scores = self.scores[places].numpy()
        seeds = self._seeds[places]
        told: dict[str, Any] = {
            "held_out_states": len(places),
            "held_out_seeds": len(np.unique(seeds)),
            "score_of_random_plan": float(scores.mean()),
            "score_of_best_plan": float(scores.max(1).mean()),
        }
        rows = np.arange(len(places))
        for how, name in enumerate(ASKED):
            old = scores[rows, self.before[how, places].argmax(1).numpy()]
            new = scores[rows, self.probabilities(places, how).argmax(1).numpy()]
            told[name] = {
                "score_before": float(old.mean()),
                "score_after": float(new.mean()),
                "difference": float((new - old).mean()),
                "difference_ci95": list(bootstrap_by(seeds, new - old)),
                "changed": float(np.mean(old != new)),
            }
        return told

    @torch.inference_mode()
    def _own_answers(self, place: int) -> list[int]:
        """What is said of a short thought before the question of the plan, as tokens."""
        language, said = self._planning.language, []
        prefix = self._views.read(place, self._planning.card.prompts)
        for question in asked(self._views.spec, "short")[:-1]:
            phrase = question.phrasings[0]
            grammar = AnswerGrammar(question, language.tokenize)
            answer = language.answer(prefix, phrase, grammar)
            said += [*language.tokenize(f" {phrase}"), *answer.tokens]
        return said


def _plan_turns(views: Views) -> tuple[list[list[int]], tuple[Fork, ...]]:
    """What is said up to the places where plans part, S lists of tokens, and the forks."""
    question = chain(views.spec)[-1]
    turns = [views.exchange(question.phrasings[0], question.write((p,))) for p in views.spec.plans]
    found = forks(turns[0][0], [answer for _, answer in turns])
    ways = {fork.said: way for way, fork in found}
    return [ways[number] for number in range(len(ways))], tuple(fork for _, fork in found)
