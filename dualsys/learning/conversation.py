"""Training batches of System 2: what it sees, what is asked and answered, the expert's chunk.

Rows are drawn so that rare answers are as frequent as common ones, those without a plan never: no
true answer ends their conversation. A third of the conversations is the plan alone, a third hazard
and plan, a third the whole chain (the thinking budgets).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import torch
from torch import Tensor

from dualsys.errors import DualsysError
from dualsys.learning.joined import JoinedDataset
from dualsys.learning.scene_targets import motion_fields, scene_targets
from dualsys.learning.views import Views
from dualsys.system2.questions import (
    BUDGETS,
    Answers,
    asked,
    balanced_weights,
    chain,
    true_answers,
)
from dualsys.system2.sizes import HeadsConfig


class PlannerBatch(msgspec.Struct):
    """One batch; L prompt tokens (padded on the left), K tokens of the answering turn."""

    prompt: dict[str, Tensor]  # from the processor: input_ids (B, L), attention_mask, images
    said: Tensor  # int64 (B, K), padded on the right
    said_mask: Tensor  # bool (B, K)
    answer: Tensor  # bool (B, K): the token belongs to an answer, not to a question
    state: Tensor  # (B, S) normalised
    plan: Tensor  # (B, P) one-hot
    proposal: Tensor  # (B, T, A) System 1's chunk, normalised, zeros where it is not drawn in
    chunk: Tensor  # (B, knots, A) normalised
    mask: Tensor  # (B, knots): 1 inside the episode
    objects: Tensor  # (B, X) motion of the nearest objects, normalised
    objects_mask: Tensor  # (B, X): 1 where there is one


class Conversations:
    """Draws conversations about rows of a dataset; deterministic for a seed and step.

    Raises `DualsysError` when none of the rows has a plan.
    """

    def __init__(self, dataset: JoinedDataset, views: Views, sizes: HeadsConfig) -> None:
        spec = dataset.spec
        self._spec, self._views, self._sizes, self._dataset = spec, views, sizes, dataset
        _, self._end = dataset.episode_bounds()
        self._chain = chain(spec)
        self._objects, self._objects_mask = scene_targets(dataset, motion_fields(spec))
        self._told = np.flatnonzero(dataset.plan[views.rows] >= 0)  # places
        if not len(self._told):
            raise DualsysError(
                f"none of the {len(views.rows)} ticks has a plan that could be learned; give "
                "demonstrations or guided runs as well, or, for driving, plans=rules"
            )
        self._answers = {int(p): truth(dataset, int(views.rows[p])) for p in self._told}
        self._odds = [
            np.cumsum(balanced_weights([answers[q.name] for answers in self._answers.values()]))
            for q in self._chain
        ]

    def of_step(self, seed: int, step: int, size: int) -> PlannerBatch:
        """The batch of training step `step`: a function of its arguments alone."""
        rng = np.random.default_rng((seed, step))
        question = rng.integers(0, len(self._chain), size)
        dice = rng.random(size)
        drawn = [
            min(int(np.searchsorted(self._odds[q], u)), len(self._told) - 1)
            for q, u in zip(question, dice, strict=True)
        ]
        return self.batch(self._told[drawn].tolist(), rng)

    def batch(self, places: list[int], rng: np.random.Generator) -> PlannerBatch:
        """The batch of the rows at `places`; System 1's samples are drawn into half of it."""
        said, answer = zip(*(self._turn(self._answers[p], rng) for p in places), strict=True)
        tokens, there = padded(said)
        rows, norm = self._views.rows[places], self._views.normalisation
        chunk, mask = knots(self._dataset.action, rows, self._end, self._sizes, norm)
        state, plan = self._views.known(places)
        drawn = rng.random(len(places)) < 0.5
        return PlannerBatch(
            prompt=self._views.prompt(places, drawn),
            said=tokens,
            said_mask=there,
            answer=padded(answer)[0].bool(),
            state=state,
            plan=plan,
            proposal=self._views.proposals(places, drawn, self._sizes.proposal_ticks),
            chunk=chunk,
            mask=mask,
            objects=torch.from_numpy(self._objects[rows]),
            objects_mask=torch.from_numpy(self._objects_mask[rows]),
        )

    def _turn(self, answers: Answers, rng: np.random.Generator) -> tuple[list[int], list[bool]]:
        """Tokens of the answering turn, and which of them belong to answers."""
        budget = BUDGETS[int(rng.integers(len(BUDGETS)))]
        tokens: list[int] = []
        flags: list[bool] = []
        for question in asked(self._spec, budget):
            phrase = question.phrasings[int(rng.integers(len(question.phrasings)))]
            given, replied = self._views.exchange(phrase, answers[question.name])
            tokens += given + replied
            flags += [False] * len(given) + [True] * len(replied)
        return tokens, flags


def truth(dataset: JoinedDataset, row: int) -> Answers:
    """The true answers at a recorded tick."""
    spec = dataset.spec
    scene = dataset.scene[row].reshape(spec.scene_rows, -1)
    return true_answers(spec, dataset.state[row], scene, int(dataset.plan[row]))


def padded(turns: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Turns of several lengths as int64 (B, K), zeros on the right, and their mask, bool (B, K)."""
    longest = max(len(turn) for turn in turns)
    there = torch.tensor([[i < len(turn) for i in range(longest)] for turn in turns])
    return torch.tensor([[*map(int, turn), *[0] * (longest - len(turn))] for turn in turns]), there


def knots(
    action: np.ndarray,
    rows: np.ndarray,
    end: np.ndarray,
    sizes: HeadsConfig,
    normalisation: Mapping[str, np.ndarray],
) -> tuple[Tensor, Tensor]:
    """Normalised commands (B, knots, A) from `rows` (B,) on, and their mask, both float32.

    Each is the mean over its knot's ticks. The last command of an episode goes on after its `end`
    (N,); the mask (B, knots) is 1 before.
    """
    ticks = rows[:, None] + np.arange(sizes.knots * sizes.stride_ticks)
    last = end[rows][:, None] - 1
    shape = (len(rows), sizes.knots, sizes.stride_ticks, action.shape[-1])
    mean = action[np.minimum(ticks, last)].reshape(shape).mean(2)
    chunk = (mean - normalisation["action_mean"]) / normalisation["action_std"]
    there = (ticks[:, :: sizes.stride_ticks] <= last).astype(np.float32)
    return torch.from_numpy(chunk.astype(np.float32)), torch.from_numpy(there)
