"""What a trained planner would have told System 1 at recorded ticks: plans, codes and candidates.

System 1 learns on these pairs to go on from the planner's chunk with a newer observation (cascaded
denoising as in Hume, arXiv 2505.21432: source = the candidate's current slice). The planner thinks
under the plan that was recorded, so that what System 1 is told agrees with what the expert then
did; where none was, under its own answer, right or wrong.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dualsys.learning.joined import JoinedDataset
from dualsys.learning.preparation import Told, quiet
from dualsys.learning.thoughts import Thoughts, think_at
from dualsys.system2 import checkpoint
from dualsys.system2.checkpoint import Planning


class Advice:
    """Thoughts at some rows of a dataset, looked up by tick.

    `rows` int64 (M,): where thoughts were made; `codes` float32 (M, Z); `plans` int64 (M,).
    """

    def __init__(
        self, planning: Planning, dataset: JoinedDataset, rows: np.ndarray, thoughts: Thoughts
    ) -> None:
        self.rows, self.codes, self.plans = rows, thoughts.code.numpy(), thoughts.plan.numpy()
        norm = planning.scale()
        commands = thoughts.candidates.numpy() * norm["action_std"] + norm["action_mean"]
        low, high = planning.card.spec.action_low, planning.card.spec.action_high
        self._knots = np.clip(commands, low, high).astype(np.float32)
        self._stride = planning.heads.config.stride_ticks
        start, _ = dataset.episode_bounds()
        newest = np.searchsorted(rows, np.arange(len(start)), "right") - 1
        # A thought of the episode before is no advice.
        self._newest = np.where(rows[newest] >= start, newest, -1)

    def newest(self, rows: np.ndarray) -> np.ndarray:
        """Index of the newest thought at or before each of `rows` (B,), -1 where there is none."""
        return self._newest[rows]

    def oldest_ticks(self, horizon: int) -> int:
        """The greatest age at which a candidate still reaches over `horizon` ticks."""
        return max(0, self._knots.shape[2] * self._stride - horizon)

    def slices(
        self, thought: np.ndarray, age_ticks: np.ndarray, horizon: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Candidates' commands (B, horizon, A) from `age_ticks` on, and whether they reach so far.

        One candidate of each thought is drawn at random: System 1 must cope with any of them.
        """
        total = self._knots.shape[2] * self._stride
        reaches = (thought >= 0) & (age_ticks + horizon <= total)
        which = rng.integers(0, self._knots.shape[1], len(thought))
        ticks = np.minimum(age_ticks[:, None] + np.arange(horizon), total - 1)
        knots = ticks // self._stride
        return self._knots[thought[:, None], which[:, None], knots], reaches


def advise(
    planner: Path,
    prompts_from: str,
    dataset: JoinedDataset,
    every_ticks: int,
    candidates: int,
    seed: int,
    device: str,
    told: Told = quiet,
) -> Advice:
    """Let the planner in the folder `planner` think at every `every_ticks`-th tick.

    Where plans were told, it thinks at the ticks that they are about, under the plan that came.
    `device` is where the planner runs, as torch names it.
    """
    planning = checkpoint.load(planner, device=device)
    rows, plans = thinking_rows(dataset, every_ticks)
    thoughts = think_at(
        planning, dataset, rows, prompts_from, candidates, seed, plans=plans, told=told
    )
    return Advice(planning, dataset, rows, thoughts)


def thinking_rows(dataset: JoinedDataset, every_ticks: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a dataset at which a planner is to think, and the plans of these thoughts, -1: none.

    Both int64 (M,).
    """
    start, _ = dataset.episode_bounds()
    ticks = np.arange(len(start))
    plan_of = np.full(len(start), -2)  # no thought
    told = dataset.plan_age >= 0
    grid = (ticks - start) % every_ticks == 0
    # An episode in which plans were told has thoughts at their ticks alone.
    episodes_told = np.isin(start, np.unique(start[told]))
    plan_of[grid & ~episodes_told] = dataset.plan[grid & ~episodes_told]
    plan_of[(ticks - dataset.plan_age)[told]] = dataset.plan[told]
    rows = np.flatnonzero(plan_of >= -1)
    return rows, plan_of[rows]
