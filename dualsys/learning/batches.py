"""Training batches of System 1: observation, guidance and expert chunk from a recorded dataset.

Guidance is made up here as it will be met: plans of a random age, dropped at random; candidate
chunks that are the expert's, bent, shifted and drifted, as a planner's would be (Hume trains its
System 1 on such pairs: source = candidate slice, target = expert).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
import torch
from torch import Tensor

from dualsys.learning.dataset import JoinedDataset, statistics
from dualsys.spec import WorldSpec
from dualsys.system1.sampler import CANDIDATE_NOISE


class BatchConfig(msgspec.Struct, frozen=True):
    """How guidance and images are varied in training."""

    plan_dropout: float = 0.15
    candidate_rate: float = 0.25
    max_plan_age_ticks: int = 80
    shift_px: int = 0


class Batch(msgspec.Struct):
    """One batch, actions and state normalised; shapes as in System1Network.encode."""

    images: list[Tensor]
    state: Tensor
    plan: Tensor
    z: Tensor
    phase: Tensor
    chunk: Tensor  # (B, T, A)
    mask: Tensor  # (B, T): 1 inside the episode
    source: Tensor  # (B, T, A)
    perceived: Tensor  # (B, X)
    perceived_mask: Tensor  # (B, X)


class Batches:
    """Draws batches from a dataset held in memory; deterministic for a seed and step."""

    def __init__(
        self,
        dataset: JoinedDataset,
        spec: WorldSpec,
        config: BatchConfig,
        horizon: int,
        plan_vector_size: int,
        perceived: list[tuple[int, int]],
        normalisation: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """`normalisation` is that of a checkpoint that goes on learning; else the dataset's own."""
        self._config, self._spec, self._horizon = config, spec, horizon
        self._z = plan_vector_size
        self._rng = np.random.default_rng(0)
        self._state = dataset.state.astype(np.float32)
        self._action = dataset.action.astype(np.float32)
        self._plan = dataset.plan.astype(np.int64)
        self._start, self._end = dataset.episode_bounds()
        self._frames = [dataset.frames(camera.name) for camera in spec.cameras]
        self._frame_of = [dataset.frame_index(camera.name) for camera in spec.cameras]
        rows, columns = np.array(perceived).reshape(-1, 2).T
        scene = dataset.scene.reshape(len(self._state), spec.scene_rows, -1)
        present = scene[:, rows, spec.scene_fields.index("present")]
        self._perceived_mask = np.ascontiguousarray(present, np.float32)
        self._perceived = np.ascontiguousarray(scene[:, rows, columns], np.float32)
        self._normalise(normalisation or statistics(dataset))

    def _normalise(self, normalisation: Mapping[str, np.ndarray]) -> None:
        self.normalisation = {name: torch.tensor(value) for name, value in normalisation.items()}
        for name in ("state", "action"):
            mean, std = normalisation[f"{name}_mean"], normalisation[f"{name}_std"]
            setattr(self, f"_{name}", (getattr(self, f"_{name}") - mean) / std)
        weight = np.maximum(self._perceived_mask.sum(0), 1.0)
        mean = (self._perceived * self._perceived_mask).sum(0) / weight
        spread = ((self._perceived - mean) ** 2 * self._perceived_mask).sum(0) / weight
        self._perceived = (self._perceived - mean) / np.maximum(np.sqrt(spread), 1e-3)

    def of_step(self, seed: int, step: int, size: int) -> Batch:
        """The batch of training step `step`: a function of its arguments alone."""
        self._rng = np.random.default_rng((seed, step))
        return self.draw(size)

    def draw(self, size: int) -> Batch:
        """Draw `size` ticks uniformly over the dataset."""
        index = self._rng.integers(0, len(self._state), size)
        chunk, mask = self._chunk(index)
        plan, phase = self._guidance(index)
        source, use = self._source(chunk)
        phase[:, 1] = use * self._rng.uniform(0, self._age_s(), size)
        phase[:, 2] = use
        return Batch(
            images=[self._image(i, index) for i in range(len(self._frames))],
            state=torch.from_numpy(self._state[index]),
            plan=torch.from_numpy(plan),
            z=torch.zeros(size, self._z),
            phase=torch.from_numpy(phase.astype(np.float32)),
            chunk=torch.from_numpy(chunk),
            mask=torch.from_numpy(mask),
            source=torch.from_numpy(source),
            perceived=torch.from_numpy(self._perceived[index]),
            perceived_mask=torch.from_numpy(self._perceived_mask[index]),
        )

    def _age_s(self) -> float:
        return self._config.max_plan_age_ticks / self._spec.control_rate_hz

    def _chunk(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ticks = index[:, None] + np.arange(self._horizon)
        last = self._end[index][:, None] - 1
        return self._action[np.minimum(ticks, last)], (ticks <= last).astype(np.float32)

    def _guidance(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size = len(index)
        age = self._rng.integers(0, self._config.max_plan_age_ticks + 1, size)
        then = np.maximum(index - age, self._start[index])
        keep = self._rng.random(size) >= self._config.plan_dropout
        plan = np.zeros((size, len(self._spec.plans)), np.float32)
        told = self._plan[then]
        keep &= told >= 0  # a tick without any plan
        plan[np.arange(size), told] = keep
        phase = np.zeros((size, 3))
        phase[:, 0] = keep * (index - then) / self._spec.control_rate_hz
        return plan, phase

    def _source(self, chunk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sources of the flow (noise or bent candidate), and which rows are candidates."""
        size, horizon, width = chunk.shape
        noise = self._rng.standard_normal(chunk.shape, np.float32)
        use = self._rng.random((size,)) < self._config.candidate_rate
        shift = self._rng.integers(-2, 3, (size,))
        rows = np.clip(np.arange(horizon)[None] + shift[:, None], 0, horizon - 1)
        bent = chunk[np.arange(size)[:, None], rows]
        bent = bent * self._rng.normal(1.0, 0.2, (size, 1, 1)).astype(np.float32)
        drift = self._rng.normal(0, 0.3, (size, 2, width)).astype(np.float32)
        ramp = np.linspace(0, 1, horizon, dtype=np.float32)[None, :, None]
        bent += drift[:, :1] * (1 - ramp) + drift[:, 1:] * ramp
        source = np.where(use[:, None, None], bent + CANDIDATE_NOISE * noise, noise)
        return source.astype(np.float32), use.astype(np.float32)

    def _image(self, camera: int, index: np.ndarray) -> Tensor:
        frames = torch.from_numpy(self._frames[camera][self._frame_of[camera][index]])
        return frames if self._config.shift_px == 0 else self._shift(frames)

    def _shift(self, images: Tensor) -> Tensor:
        """Random shift by up to `shift_px`, edges repeated (DrQ, arXiv 2004.13649)."""
        size, height, width, _ = images.shape
        px = self._config.shift_px
        dy, dx = torch.from_numpy(self._rng.integers(-px, px + 1, (2, size)))
        rows = (torch.arange(height)[None] + dy[:, None]).clamp(0, height - 1)
        columns = (torch.arange(width)[None] + dx[:, None]).clamp(0, width - 1)
        return images[torch.arange(size)[:, None, None], rows[:, :, None], columns[:, None, :]]
