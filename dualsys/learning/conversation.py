"""Training batches of System 2: what it sees, what is asked and answered, the expert's chunk.

Rows are drawn so that rare answers are as frequent as common ones; a third of the conversations is
the plan alone, a third hazard and plan, a third the whole chain (the thinking budgets).
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from dualsys.learning.dataset import Dataset
from dualsys.system2.heads import HeadsConfig
from dualsys.system2.language import LanguageModel, describe
from dualsys.system2.prompts import draw, paths, project
from dualsys.system2.questions import (
    BUDGETS,
    Answers,
    asked,
    balanced_weights,
    chain,
    true_answers,
)


class PlannerBatch(msgspec.Struct):
    """One batch; L prompt tokens (padded on the left), K tokens of the answering turn."""

    prompt: dict[str, Tensor]  # from the processor: input_ids (B, L), attention_mask, images
    said: Tensor  # int64 (B, K), padded on the right
    said_mask: Tensor  # bool (B, K)
    answer: Tensor  # bool (B, K): the token belongs to an answer, not to a question
    state: Tensor  # (B, S) normalised
    plan: Tensor  # (B, P) one-hot
    chunk: Tensor  # (B, knots, A) normalised
    mask: Tensor  # (B, knots): 1 inside the episode


class Conversations:
    """Draws conversations about rows of a dataset; deterministic for a seed and step.

    `rows` (N,) are the ticks used, `samples` (N, T, A) System 1's chunks there (drawn into half of
    the images), None to draw nothing.
    """

    def __init__(
        self,
        dataset: Dataset,
        language: LanguageModel,
        sizes: HeadsConfig,
        rows: np.ndarray,
        samples: np.ndarray | None,
    ) -> None:
        self._spec, self._language, self._sizes = dataset.spec, language, sizes
        self._rows, self._samples = rows, samples
        self._dataset = dataset
        _, self._end = dataset.episode_bounds()
        self._frames = [dataset.frames(camera.name) for camera in self._spec.cameras]
        self._frame_of = [dataset.frame_index(camera.name) for camera in self._spec.cameras]
        self._instructions = dataset.instructions()
        self._chain = chain(self._spec)
        self._answers = [self._truth(row) for row in rows]
        self._odds = [
            np.cumsum(balanced_weights([answers[q.name] for answers in self._answers]))
            for q in self._chain
        ]
        self.normalisation = normalisation(dataset)
        self._rng = np.random.default_rng(0)

    def of_step(self, seed: int, step: int, size: int) -> PlannerBatch:
        """The batch of training step `step`: a function of its arguments alone."""
        self._rng = np.random.default_rng((seed, step))
        question = self._rng.integers(0, len(self._chain), size)
        dice = self._rng.random(size)
        places = [
            min(int(np.searchsorted(self._odds[q], u)), len(self._rows) - 1)
            for q, u in zip(question, dice, strict=True)
        ]
        return self.batch(places)

    def batch(self, places: list[int]) -> PlannerBatch:
        """The batch of the rows at `places`."""
        rows = self._rows[places]
        said, answer = zip(*(self._turn(self._answers[p]) for p in places), strict=True)
        longest = max(len(tokens) for tokens in said)
        chunk, mask = self._chunk(rows)
        plan = np.zeros((len(rows), len(self._spec.plans)), np.float32)
        plan[np.arange(len(rows)), self._dataset.plan[rows]] = 1.0
        norm = self.normalisation
        state = (self._dataset.state[rows] - norm["state_mean"]) / norm["state_std"]
        return PlannerBatch(
            prompt=self._prompt(places),
            said=torch.tensor([[*t, *[0] * (longest - len(t))] for t in said]),
            said_mask=torch.tensor([[i < len(t) for i in range(longest)] for t in said]),
            answer=torch.tensor([[*a, *[False] * (longest - len(a))] for a in answer]),
            state=torch.from_numpy(state.astype(np.float32)),
            plan=torch.from_numpy(plan),
            chunk=torch.from_numpy(chunk),
            mask=torch.from_numpy(mask),
        )

    def _truth(self, row: int) -> Answers:
        spec, data = self._spec, self._dataset
        scene = data.scene[row].reshape(spec.scene_rows, -1)
        return true_answers(spec, data.state[row], scene, int(data.plan[row]))

    def _text(self, place: int) -> str:
        row = self._rows[place]
        return describe(self._spec, self._dataset.state[row], self._instructions[row])

    def _prompt(self, places: list[int]) -> dict[str, Tensor]:
        images = [self._images(place) for place in places]
        return self._language.inputs(images, [self._text(place) for place in places])

    def _images(self, place: int) -> list[np.ndarray]:
        row = self._rows[place]
        images = [
            np.asarray(frames[of[row]])
            for frames, of in zip(self._frames, self._frame_of, strict=True)
        ]
        if self._samples is None or self._rng.random() < 0.5:
            return images
        points = paths(self._spec, self._dataset.state[row], self._samples[place][None])
        return [
            draw(image, project(camera, points))
            for image, camera in zip(images, self._spec.cameras, strict=True)
        ]

    def _turn(self, answers: Answers) -> tuple[list[int], list[bool]]:
        """Tokens of the answering turn, and which of them belong to answers."""
        budget = BUDGETS[int(self._rng.integers(len(BUDGETS)))]
        tokens: list[int] = []
        flags: list[bool] = []
        for question in asked(self._spec, budget):
            phrase = question.phrasings[int(self._rng.integers(len(question.phrasings)))]
            given = self._language.tokenize(f" {phrase}")
            parts = answers[question.name].removesuffix(".").split(", ")
            ends = [","] * (len(parts) - 1) + ["."]
            # Word by word, as the grammar reads it.
            words = [
                self._language.tokenize(f" {w}{end}") for w, end in zip(parts, ends, strict=True)
            ]
            replied = [token for word in words for token in word]
            tokens += given + replied
            flags += [False] * len(given) + [True] * len(replied)
        return tokens, flags

    def _chunk(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Commands at the knots: the mean over each knot's ticks."""
        knots, stride = self._sizes.knots, self._sizes.stride_ticks
        ticks = rows[:, None] + np.arange(knots * stride)
        last = self._end[rows][:, None] - 1
        norm = self.normalisation
        action = self._dataset.action[np.minimum(ticks, last)]
        action = action.reshape(len(rows), knots, stride, -1).mean(2)
        chunk = ((action - norm["action_mean"]) / norm["action_std"]).astype(np.float32)
        return chunk, (ticks[:, ::stride] <= last).astype(np.float32)


def normalisation(dataset: Dataset) -> dict[str, Any]:
    """Mean and standard deviation of state and action, float32."""
    found = {}
    for name in ("state", "action"):
        values = getattr(dataset, name)
        found[f"{name}_mean"] = values.mean(0).astype(np.float32)
        found[f"{name}_std"] = np.maximum(values.std(0), 1e-3).astype(np.float32)
    return found
