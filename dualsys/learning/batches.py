"""Training batches of System 1: observation, guidance and expert chunk from a recorded dataset.

Guidance is met here as it will be in the loop: of a random age, dropped at random. Candidates and
codes are a trained planner's own (`Advice`; Hume trains its System 1 on such pairs: source =
candidate slice, target = expert); before there is one, candidates are the expert's chunks, bent.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
import torch
from torch import Tensor

from dualsys.errors import DualsysError
from dualsys.learning.advice import Advice
from dualsys.learning.joined import JoinedDataset, statistics
from dualsys.learning.scene_targets import scene_targets
from dualsys.spec import WorldSpec
from dualsys.system1.network import NetworkConfig
from dualsys.system1.sampler import CANDIDATE_NOISE
from dualsys.system2.coding import coarser

COARSER_LEVELS = (2, 3)


class BatchConfig(msgspec.Struct, frozen=True):
    """How guidance and images are varied in training."""

    plan_dropout: float = 0.15
    candidate_rate: float = 0.25
    max_plan_age_ticks: int = 80
    shift_px: int = 0
    commit_rate: float = 0.5  # how often a beginning of the chunk is committed already


class Batch(msgspec.Struct):
    """One batch, actions and state normalised; shapes as in System1Network.encode."""

    images: list[Tensor]
    state: Tensor
    plan: Tensor
    z: Tensor
    phase: Tensor
    chunk: Tensor  # (B, T, A)
    mask: Tensor  # (B, T): 1 inside the episode
    committed: Tensor  # (B, T): 1 where the action is given, not asked for
    executed: Tensor  # (B, T, A): what was really done, which is what is given there
    source: Tensor  # (B, T, A)
    perceived: Tensor  # (B, X)
    perceived_mask: Tensor  # (B, X)


class _Told(msgspec.Struct):
    """Guidance of a batch: plan (B, P), code (B, Z), whether it was kept, age, thought or -1.

    `wants` (B,) says which rows are to start from a candidate, where theirs reaches so far.
    """

    plan: np.ndarray
    code: np.ndarray
    kept: np.ndarray
    age_ticks: np.ndarray
    thought: np.ndarray
    wants: np.ndarray


class Batches:
    """Draws batches from a dataset held in memory; deterministic for a seed and step."""

    def __init__(
        self,
        dataset: JoinedDataset,
        spec: WorldSpec,
        config: BatchConfig,
        sizes: NetworkConfig,
        perceived: list[tuple[int, int]],
        normalisation: Mapping[str, np.ndarray] | None = None,
        advice: Advice | None = None,
    ) -> None:
        """`normalisation` is that of a checkpoint that goes on learning; else the dataset's own.

        `advice` is what a trained planner says at these rows; without it guidance is made up.
        """
        self._config, self._spec, self._horizon = config, spec, sizes.horizon
        self._z, self._advice, self._commit_ticks = (
            sizes.plan_vector_size,
            advice,
            sizes.commit_ticks,
        )
        if advice is not None and advice.codes.shape[1] != self._z:
            raise DualsysError(
                f"the planner sends codes of {advice.codes.shape[1]} values, System 1 takes "
                f"{self._z}; give network.plan_vector_size={advice.codes.shape[1]}"
            )
        self._period_s = 1.0 / spec.control_rate_hz
        self._rng = np.random.default_rng(0)
        self._state = dataset.state.astype(np.float32)
        self._action = dataset.action.astype(np.float32)
        self._executed = dataset.executed.astype(np.float32)
        self._plan, self._plan_age = dataset.plan.astype(np.int64), dataset.plan_age
        self._start, self._end = dataset.episode_bounds()
        self._frames = [dataset.frames(camera.name) for camera in spec.cameras]
        self._frame_of = [dataset.frame_index(camera.name) for camera in spec.cameras]
        self._perceived, self._perceived_mask = scene_targets(dataset, perceived)
        _, kind = np.unique(dataset.scenarios(), return_inverse=True)
        self._of_kind = [np.flatnonzero(kind == k) for k in range(kind.max() + 1)]
        self._normalise(normalisation or statistics(dataset))

    def _normalise(self, normalisation: Mapping[str, np.ndarray]) -> None:
        self.normalisation = {name: torch.tensor(value) for name, value in normalisation.items()}
        for name in ("state", "action"):
            mean, std = normalisation[f"{name}_mean"], normalisation[f"{name}_std"]
            setattr(self, f"_{name}", (getattr(self, f"_{name}") - mean) / std)
        mean, std = normalisation["action_mean"], normalisation["action_std"]
        self._executed = (self._executed - mean) / std

    def of_step(self, seed: int, step: int, size: int) -> Batch:
        """The batch of training step `step`: a function of its arguments alone."""
        self._rng = np.random.default_rng((seed, step))
        return self.draw(size)

    def draw(self, size: int) -> Batch:
        """Draw `size` ticks, each scenario as often as the others: long ones teach no more."""
        kinds = self._rng.integers(0, len(self._of_kind), size)
        dice = self._rng.random(size)
        index = np.array(
            [
                self._of_kind[k][int(u * len(self._of_kind[k]))]
                for k, u in zip(kinds, dice, strict=True)
            ]
        )
        (chunk, executed), mask = self._chunks(index)
        committed = self._committed(size)
        told = self._guidance(index)
        source, use, age_s = self._source(chunk, index, told)
        # A run, too, stamps no greater age than training showed (system1.phase_limit_s).
        plan_age_s = self._period_s * np.minimum(told.age_ticks, self._config.max_plan_age_ticks)
        phase = np.stack([told.kept * plan_age_s, use * age_s, use], -1)
        return Batch(
            images=[self._image(i, index) for i in range(len(self._frames))],
            state=torch.from_numpy(self._state[index]),
            plan=torch.from_numpy(told.plan),
            z=torch.from_numpy(told.code),
            phase=torch.from_numpy(phase.astype(np.float32)),
            chunk=torch.from_numpy(chunk),
            mask=torch.from_numpy(mask),
            committed=torch.from_numpy(committed),
            executed=torch.from_numpy(executed),
            source=torch.from_numpy(source),
            perceived=torch.from_numpy(self._perceived[index]),
            perceived_mask=torch.from_numpy(self._perceived_mask[index]),
        )

    def _chunks(self, index: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
        """What the expert would do and what was done, each (B, T, A), and whether there (B, T)."""
        ticks = index[:, None] + np.arange(self._horizon)
        last = self._end[index][:, None] - 1
        there = np.minimum(ticks, last)
        return (self._action[there], self._executed[there]), (ticks <= last).astype(np.float32)

    def _committed(self, size: int) -> np.ndarray:
        """Which actions at the beginning of the chunks are committed, float32 (B, T)."""
        longest = self._rng.integers(1, self._commit_ticks + 1, size) if self._commit_ticks else 0
        ticks = np.where(self._rng.random(size) < self._config.commit_rate, longest, 0)
        return (np.arange(self._horizon) < ticks[:, None]).astype(np.float32)

    def _guidance(self, index: np.ndarray) -> _Told:
        """Guidance for each row: the plan it was told, else one of a random age.

        Where a planner's thought at the tick it is about is at hand, that comes with it.
        """
        size, oldest = len(index), self._config.max_plan_age_ticks
        wants = self._rng.random(size) < self._config.candidate_rate
        # Rows that want a candidate are told early enough that it still reaches over the horizon.
        reach = oldest if self._advice is None else self._advice.oldest_ticks(self._horizon)
        dice = self._rng.random(size)
        age = (dice * (np.where(wants, min(oldest, reach), oldest) + 1)).astype(int)
        age = np.where(self._plan_age[index] >= 0, self._plan_age[index], age)
        then = np.maximum(index - age, self._start[index])
        kept = self._rng.random(size) >= self._config.plan_dropout
        thought, code = np.full(size, -1), np.zeros((size, self._z), np.float32)
        told = np.where(self._plan_age[index] >= 0, self._plan[index], self._plan[then])
        if self._advice is not None:
            thought = self._advice.newest(then)
            then = np.where(thought >= 0, self._advice.rows[thought], then)
            coded = kept & (thought >= 0) & (self._rng.random(size) >= self._config.plan_dropout)
            code = self._coarsened(self._advice.codes[thought]) * coded[:, None]
            told = np.where(thought >= 0, self._advice.plans[thought], told)
        plan = np.zeros((size, len(self._spec.plans)), np.float32)
        kept = kept & (told >= 0)  # there may have been no plan at that tick
        plan[np.arange(size), told] = kept
        return _Told(plan, code, kept, index - then, thought, wants)

    def _coarsened(self, code: np.ndarray) -> np.ndarray:
        """Some of the codes on coarser grids: one System 1 then serves every number of bits."""
        grid = self._rng.integers(0, len(COARSER_LEVELS) + 1, len(code))
        for number, levels in enumerate(COARSER_LEVELS):
            code = np.where((grid == number)[:, None], coarser(code, levels), code)
        return code

    def _source(
        self, chunk: np.ndarray, index: np.ndarray, told: _Told
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sources of the flow (noise or candidate), which rows are candidates, their ages [s]."""
        size, horizon, _ = chunk.shape
        noise = self._rng.standard_normal(chunk.shape, np.float32)
        use = told.wants
        if self._advice is None:
            candidate = self._bent(chunk)
            oldest_s = self._config.max_plan_age_ticks * self._period_s
            age_s = np.asarray(self._rng.uniform(0, oldest_s, size))
        else:
            slices, reaches = self._advice.slices(told.thought, told.age_ticks, horizon, self._rng)
            mean, std = (self.normalisation[f"action_{n}"].numpy() for n in ("mean", "std"))
            candidate = (slices - mean) / std
            age_s = np.asarray(told.age_ticks * self._period_s)
            use = use & reaches & told.kept
        source = np.where(use[:, None, None], candidate + CANDIDATE_NOISE * noise, noise)
        return source.astype(np.float32), use.astype(np.float32), age_s

    def _bent(self, chunk: np.ndarray) -> np.ndarray:
        """The expert's chunks shifted, scaled and drifted: candidates before there is a planner."""
        size, horizon, width = chunk.shape
        shift = self._rng.integers(-2, 3, (size,))
        rows = np.clip(np.arange(horizon)[None] + shift[:, None], 0, horizon - 1)
        bent = chunk[np.arange(size)[:, None], rows]
        bent = bent * self._rng.normal(1.0, 0.2, (size, 1, 1)).astype(np.float32)
        drift = self._rng.normal(0, 0.3, (size, 2, width)).astype(np.float32)
        ramp = np.linspace(0, 1, horizon, dtype=np.float32)[None, :, None]
        drifted: np.ndarray = bent + drift[:, :1] * (1 - ramp) + drift[:, 1:] * ramp
        return drifted

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
