"""`dualsys train value`: recorded successes and failures -> the value-query head of a planner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dualsys.device import device_of
from dualsys.errors import DualsysError
from dualsys.learning.cards import gone_on
from dualsys.learning.conversation import knots
from dualsys.learning.joined import JoinedDataset, open_datasets
from dualsys.learning.lineage import built_on
from dualsys.learning.preparation import Told, before_steps, quiet
from dualsys.learning.returns import Returns, returns
from dualsys.learning.thoughts import think_at
from dualsys.learning.train_value import Critics, Transitions, value_losses
from dualsys.learning.trainer import trained
from dualsys.spec import require_same
from dualsys.system2 import checkpoint
from dualsys.system2.checkpoint import Planning


class Replay:
    """Chunk-level transitions of recorded episodes, in memory; rows are drawn uniformly.

    Drawn are chunks that were carried out whole, and any before the end of a terminated episode.
    Values count from the scenario's mean return in units of its spread, whatever its reward is:
    alpha then means the same everywhere, and no task drowns the others' differences.
    """

    def __init__(
        self,
        planning: Planning,
        dataset: JoinedDataset,
        config: dict[str, Any],
        told: Told = quiet,
    ) -> None:
        require_same(planning.card.spec, dataset.spec, "the planner", "the data")
        sizes = planning.heads.config
        horizon, every = sizes.knots * sizes.stride_ticks, config["every_ticks"]
        if horizon % every:
            raise DualsysError(
                f"every_ticks={every} does not divide the planner's chunk of {horizon} ticks; "
                "choose a divisor"
            )
        _, end = dataset.episode_bounds()
        gamma = config["gamma"] ** (1 / dataset.spec.control_rate_hz)
        ended = (dataset.terminated, dataset.done)
        found = returns(dataset.reward, end, *ended, gamma, horizon)
        grid, drawn = _rows(dataset, found, every, horizon)
        scenario = np.array(dataset.scenarios())
        self.scales = return_scales(found.monte_carlo[grid], scenario[grid])
        rows = np.unique([*drawn, *found.after[drawn]])
        self._drawn = np.searchsorted(rows, drawn)
        self._set_returns(found, rows, np.isin(found.after[rows], drawn), scenario[rows])
        self._chunk, _ = knots(dataset.executed, rows, end, sizes, planning.scale())
        prompts_from, count, seed = (config[k] for k in ("prompts_from", "candidates", "seed"))
        # As in a run: under the planner's own answer; but a trial's under that of its thought.
        plans = np.where(dataset.trials()[rows], dataset.plan[rows], -1)
        self._thoughts = think_at(
            planning, dataset, rows, prompts_from, count, seed, plans=plans, told=told
        )

    def _set_returns(
        self, found: Returns, rows: np.ndarray, goes_on: np.ndarray, scenario: np.ndarray
    ) -> None:
        """Keep the returns of `rows`; `goes_on` says where the row that comes after is learned."""
        monte_carlo = found.monte_carlo[rows]
        # A value that nothing teaches is no ground to build on: what is known to have come stands
        # in its place.
        settled = ~goes_on & np.isfinite(monte_carlo)
        bootstrap = np.where(settled, 0.0, found.bootstrap[rows])
        centre, spread = np.array([self.scales[name] for name in scenario]).T
        # What the bootstrap does not carry over of the centre is paid with the reward.
        reward = np.where(settled, monte_carlo, found.chunk[rows]) - centre * (1 - bootstrap)
        self._reward = torch.from_numpy((reward / spread).astype(np.float32))
        shifted = (monte_carlo - centre) / spread
        self._monte_carlo = torch.from_numpy(shifted.astype(np.float32))
        self._bootstrap = torch.from_numpy(bootstrap.astype(np.float32))
        self._after = np.searchsorted(rows, found.after[rows])

    def __len__(self) -> int:
        return len(self._drawn)

    def of_step(self, seed: int, step: int, size: int) -> Transitions:
        """The batch of training step `step`: a function of its arguments alone."""
        places = self._drawn[np.random.default_rng((seed, step)).integers(0, len(self), size)]
        after = self._after[places]
        return Transitions(
            tokens=self._thoughts.tokens[places].float(),
            chunk=self._chunk[places],
            proposed=self._thoughts.candidates[places],
            reward=self._reward[places],
            bootstrap=self._bootstrap[places],
            monte_carlo=self._monte_carlo[places],
            after_tokens=self._thoughts.tokens[after].float(),
            after_proposed=self._thoughts.candidates[after],
        )


def _rows(
    dataset: JoinedDataset, found: Returns, every: int, horizon: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows `every` so many ticks, with the last of each episode, and those of them to learn from.

    Raises `DualsysError` when there is nothing to learn from.
    """
    start, end = dataset.episode_bounds()
    ticks = np.arange(len(start))
    grid = ((ticks - start) % every == 0) | (ticks == end - 1)
    # The last row of an episode that was not followed to its end has nothing to learn from.
    known = np.isfinite(found.monte_carlo) | (ticks < end - 1)
    # Nor has a chunk of which only the beginning was carried out, unless that was the end of all.
    whole = (ticks + horizon <= end) | dataset.terminated[end - 1]
    drawn = np.flatnonzero(grid & known & whole)
    if not len(drawn):
        raise DualsysError(
            f"no chunk of {horizon} ticks was carried out to its end in the data; "
            "give data=[...] of longer episodes"
        )
    return np.flatnonzero(grid), drawn


def return_scales(returns: np.ndarray, scenario: np.ndarray) -> dict[str, tuple[float, float]]:
    """Mean and spread of the returns (N,) of each scenario, named for each row in `scenario` (N,).

    NaN is a return that is not known. The spread is at least a twentieth of that of all returns:
    where every episode is alike, small differences are not blown up. Raises `DualsysError` for a
    scenario of which no return is known.
    """
    known = np.isfinite(returns)
    found = {}
    for name in np.unique(scenario):
        mine = returns[known & (scenario == name)]
        if not len(mine):
            raise DualsysError(
                f"no episode of {name} was followed to its end; give whole episodes of it as well"
            )
        least = max(float(returns[known].std()) / 20, 1e-6)
        found[str(name)] = (float(mine.mean()), max(float(mine.std()), least))
    return found


def both_outcomes(dataset: JoinedDataset) -> dict[str, int]:
    """How many episodes succeeded, failed, or were not followed to their end (trials are such).

    Raises `DualsysError` when none succeeded or none failed: values learned from one side alone
    know no difference.
    """
    start, end = dataset.episode_bounds()
    last = end[np.flatnonzero(start == np.arange(len(start)))] - 1
    followed = (dataset.done | dataset.terminated)[last]
    success = dataset.successes()
    found = {
        "succeeded": int((followed & success).sum()),
        "failed": int((followed & ~success).sum()),
        "not_followed": int((~followed).sum()),
    }
    if not (found["succeeded"] and found["failed"]):
        raise DualsysError(
            f"of the episodes in the data {found['succeeded']} succeeded and {found['failed']} "
            "failed; values are learned from both, give data=[...] of runs that hold the other kind"
        )
    return found


def fit_value(config: dict[str, Any], progress: Callable[[int, dict[str, float]], None]) -> Path:
    """Train (or go on training) the value head of the planner in `config["planner"]`, in place."""
    torch.set_num_threads(config["threads"])
    folder = Path(config["planner"])
    planning = checkpoint.load(folder, device=device_of(config["device"]))
    told = before_steps(progress)
    dataset = open_datasets(config["data"], told)
    outcomes = both_outcomes(dataset)
    replay = Replay(planning, dataset, config, told)
    torch.manual_seed(config["seed"])
    critics = Critics(planning.heads.value)
    averaged = trained(
        critics,
        lambda batch: value_losses(critics, batch),
        {"difference": 1.0, "conservative": config["alpha"]},
        replay.of_step,
        config,
        folder / "training_value",
        progress,
        built_on(dataset, planner=str(folder), others=[config["prompts_from"]]),
    )
    critics.load_state_dict(averaged)
    facts = {
        **{key: config[key] for key in ("gamma", "alpha", "candidates", "every_ticks")},
        "transitions": len(replay),
        "episodes": outcomes,
        "return_mean_and_std": replay.scales,
    }
    card = gone_on(planning.card, "value", config, facts)
    checkpoint.save_heads(folder, planning.heads, planning.normalisation, card)
    return folder
