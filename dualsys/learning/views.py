"""What the planner sees at rows of a dataset: images with or without visual prompts, text, state.

Training, valuing and distilling all look at recorded ticks through this one class.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dualsys.learning.joined import JoinedDataset, statistics
from dualsys.system2.language import LanguageModel, Prefix, describe
from dualsys.system2.prompts import as_numbers, draw, paths, project


class Views:
    """Prompts about `rows` (N,) of a dataset, as `VisionPlanner` makes them of a request.

    `samples` (N, K, T, A) are System 1's chunks at the rows, to be drawn in, the first one of them
    that which it would carry out; None to draw nothing.
    `normalisation` is the planner's; by default the dataset's own.
    """

    def __init__(
        self,
        dataset: JoinedDataset,
        language: LanguageModel,
        rows: np.ndarray,
        samples: np.ndarray | None,
        normalisation: dict[str, np.ndarray] | None = None,
    ) -> None:
        self.rows, self.spec = rows, dataset.spec
        self._dataset, self._language, self._samples = dataset, language, samples
        self._frames = [dataset.frames(camera.name) for camera in self.spec.cameras]
        self._frame_of = [dataset.frame_index(camera.name) for camera in self.spec.cameras]
        self._instructions = dataset.instructions()
        self.normalisation = normalisation or statistics(dataset)

    def __len__(self) -> int:
        return len(self.rows)

    def known(self, places: list[int]) -> tuple[Tensor, Tensor]:
        """Normalised states (B, S) and one-hot plans (B, P), zeros where there was no plan."""
        rows, norm = self.rows[places], self.normalisation
        state = (self._dataset.state[rows] - norm["state_mean"]) / norm["state_std"]
        plan = self._dataset.plan[rows][:, None] == np.arange(len(self.spec.plans))
        return torch.from_numpy(state.astype(np.float32)), torch.from_numpy(plan).float()

    def proposals(self, places: list[int], drawn: np.ndarray, ticks: int) -> Tensor:
        """System 1's first chunks (B, ticks, A) as numbers; zeros where none is drawn in."""
        found = np.zeros((len(places), ticks, len(self.spec.action)), np.float32)
        if self._samples is not None and ticks and drawn.any():
            norm = self.normalisation
            scale = norm["action_mean"], norm["action_std"]
            first = self._samples[places, 0][drawn]
            found[drawn] = as_numbers(first, ticks, *scale)
        return torch.from_numpy(found)

    def prompt(self, places: list[int], drawn: np.ndarray) -> dict[str, Tensor]:
        """The processor's inputs; System 1's samples are drawn in where `drawn` (B,) says so."""
        images = [self._images(p, bool(d)) for p, d in zip(places, drawn, strict=True)]
        return self._language.inputs(images, [self._text(place) for place in places])

    def read(self, place: int, drawn: bool) -> Prefix:
        """The model's reading of one prompt, from which questions can be asked."""
        return self._language.read(self._images(place, drawn), self._text(place))

    def exchange(self, phrase: str, answer: str) -> tuple[list[int], list[int]]:
        """Tokens of a question and of its answer, word by word, as the grammar reads it."""
        parts = answer.removesuffix(".").split(", ")
        ends = [","] * (len(parts) - 1) + ["."]
        words = [self._language.tokenize(f" {w}{end}") for w, end in zip(parts, ends, strict=True)]
        return self._language.tokenize(f" {phrase}"), [token for word in words for token in word]

    def _text(self, place: int) -> str:
        row = self.rows[place]
        return describe(self.spec, self._dataset.state[row], self._instructions[row])

    def _images(self, place: int, drawn: bool) -> list[np.ndarray]:
        row = self.rows[place]
        images = [
            np.asarray(frames[of[row]])
            for frames, of in zip(self._frames, self._frame_of, strict=True)
        ]
        if self._samples is None or not drawn:
            return images
        points = paths(self.spec, self._dataset.state[row], self._samples[place])
        return [
            draw(image, project(camera, points))
            for image, camera in zip(images, self.spec.cameras, strict=True)
        ]
