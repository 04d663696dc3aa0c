"""Every plan tried out in the simulator: from one recorded state, System 1 follows each in turn.

The scores are what reward-instruct training (FASIONAD++) learns from: answers are compared within
the group of one state, so the state's own difficulty cancels out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dualsys.errors import DualsysError
from dualsys.learning.dataset import Dataset
from dualsys.messages import Guidance, Stamp
from dualsys.runtime.results import git_state, machine, versions
from dualsys.whatif.drives import Told, drive
from dualsys.whatif.junction import Junction, driven_world
from dualsys.workers import by_scenario, completed
from sim.driving.terms import Terms

SCHEMA = "dualsys-plan-scores/1"
LEAST_TICKS = 15  # of recorded driving after a state


class Start(msgspec.Struct, frozen=True):
    """A recorded state: the dataset's row, and how it is reached again."""

    row: int
    scenario: str
    seed: int
    commands: np.ndarray  # float32 (tick, A)


class Job(msgspec.Struct, frozen=True):
    """Some states of one scenario for one worker."""

    config: dict[str, Any]
    scenario: str
    starts: tuple[Start, ...]
    trial: Trial


class Trial(msgspec.Struct, frozen=True):
    """Which states are drawn, from the dataset in `data`, and how they are driven on from.

    Each plan is told for `told_s`, the time until the planner is asked again, then System 1 goes on
    alone: choosing what scores best, again and again, is a step of policy improvement over that.
    """

    data: str
    states: int
    told_s: float
    horizon_s: float
    seed: int
    before_harm: float  # as in `starts_of`


class PlanScores(msgspec.Struct):
    """What came of every plan at some rows of a dataset."""

    schema: str
    data: str
    rows: list[int]  # (M,)
    plans: tuple[str, ...]
    terms: list[list[Terms]]  # (M, P)
    about: dict[str, Any]

    def scores(self, weights: Terms) -> np.ndarray:
        """Scores (M, P) under the weights of the terms."""
        return np.array([[t.score(weights) for t in row] for row in self.terms])


def starts_of(
    dataset: Dataset, count: int, horizon_ticks: int, seed: int, before_harm: float = 0.0
) -> list[Start]:
    """`count` rows drawn from a dataset of runs, each with a second of driving left after it.

    The share `before_harm` is drawn from the horizon before the end of drives that ended in harm:
    there plans differ most. Raises `DualsysError` when the dataset holds no such row.
    """
    if not 0 <= before_harm <= 1:
        raise DualsysError(f"before_harm is a share from 0 to 1, it is {before_harm}")
    first, end = dataset.episode_bounds()
    rows, episodes = np.arange(len(first)), dataset.episodes
    lengths = episodes["length"].to_numpy()
    failed = np.repeat(~np.array(episodes["success"].to_pylist(), bool), lengths)
    harmed = failed & dataset.terminated[end - 1] & (end - rows <= horizon_ticks)
    long_enough = rows + min(horizon_ticks, LEAST_TICKS) < end
    rng, wanted = np.random.default_rng(seed), round(before_harm * count)
    parts = []
    for fit, size in ((harmed, wanted), (~harmed, count - wanted)):
        found = rows[fit & long_enough]
        parts.append(rng.choice(found, min(size, len(found)), replace=False))
    drawn = np.sort(np.concatenate(parts))
    if not len(drawn):
        raise DualsysError(f"no episode of {dataset.root} is long enough to try plans in")
    of = np.searchsorted(episodes["dataset_from_index"].to_numpy(), drawn, "right") - 1
    scenarios, seeds = episodes["scenario"].to_pylist(), episodes["seed"].to_pylist()
    return [
        Start(int(row), scenarios[n], seeds[n], dataset.executed[first[row] : row])
        for row, n in zip(drawn, of, strict=True)
    ]


def _told(tick: int, plan: int, axes: int) -> Guidance:
    return Guidance.of_plan(Stamp(0, 0, 1, tick, 0), 1, plan, axes)


def _for_ticks(guidance: Guidance, ticks: int) -> Told:
    return lambda step: guidance if step < ticks else None


def work(job: Job) -> list[list[Terms]]:
    """Try every plan from every start (runs in a worker process)."""
    with driven_world(job.config, job.scenario) as (world, policy):
        spec = world.world_spec
        rate, trial = spec.control_rate_hz, job.trial
        ticks, until = round(trial.horizon_s * rate), round(trial.told_s * rate)
        found = []
        for start in job.starts:
            junction, begin = Junction(world, start.seed, start.commands), len(start.commands)
            told = [_told(begin, plan, len(spec.action)) for plan in range(len(spec.plans))]
            found.append(
                [drive(world, policy, junction, begin, _for_ticks(t, until), ticks) for t in told]
            )
    return found


def score_plans(
    config: dict[str, Any],
    trial: Trial,
    workers: int,
    out: Path,
    progress: Callable[[int], None],
) -> PlanScores:
    """Try every plan in the states of a trial; `config` is that of `eval`.

    `out` is written as states are done; where it holds some of this very trial, they stay. Raises
    `DualsysError` when it holds another's.
    """
    dataset = Dataset(Path(trial.data))
    if dataset.spec.domain != "driving":
        raise DualsysError(
            f"plans are tried out in driving worlds, {trial.data} is of the domain "
            f"{dataset.spec.domain!r} (there the instruction alone decides the plan)"
        )
    about = {"trial": msgspec.to_builtins(trial), "config": config}
    about |= {"git": git_state(), "versions": versions(), "machine": machine()}
    scores = _begun(out, PlanScores(SCHEMA, trial.data, [], dataset.spec.plans, [], about))
    progress(len(scores.rows))
    ticks = round(trial.horizon_s * dataset.spec.control_rate_hz)
    starts = starts_of(dataset, trial.states, ticks, trial.seed, trial.before_harm)
    jobs = _jobs(config, [s for s in starts if s.row not in scores.rows], trial)
    # Mixed, so that a trial that is cut short is a fair sample of all scenarios.
    np.random.default_rng(trial.seed).shuffle(jobs)
    found = dict(zip(scores.rows, scores.terms, strict=True))
    for number, tried in completed(work, jobs, workers):
        found |= {s.row: t for s, t in zip(jobs[number].starts, tried, strict=True)}
        rows = sorted(found)
        scores = msgspec.structs.replace(scores, rows=rows, terms=[found[row] for row in rows])
        save_scores(scores, out)
        progress(len(tried))
    return scores


def _begun(out: Path, fresh: PlanScores) -> PlanScores:
    """What `out` holds already of the trial of `fresh`, or `fresh` itself."""
    if not out.exists():
        return fresh
    begun = load_scores(out)
    for name in ("trial", "config"):
        kept, asked = begun.about.get(name), fresh.about[name]
        if kept != asked:
            raise DualsysError(
                f"{out} holds plans tried with another {name}: {kept}, asked for is {asked}; give "
                "another --out, or delete the file"
            )
    return begun


def _jobs(config: dict[str, Any], starts: list[Start], trial: Trial) -> list[Job]:
    """The states scenario by scenario, a few at a time."""
    return [Job(config, scenario, part, trial) for scenario, part in by_scenario(starts, 4)]


def save_scores(scores: PlanScores, path: Path) -> None:
    """Write scores as JSON; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(msgspec.json.encode(scores))
    partial.replace(path)


def load_scores(path: Path) -> PlanScores:
    """Read scores. Raises `DualsysError` when the file holds none."""
    try:
        scores = msgspec.json.decode(path.read_bytes(), type=PlanScores)
    except (OSError, msgspec.DecodeError) as error:
        raise DualsysError(
            f"{path} holds no plan scores ({error}); make them with launch/try_plans.py"
        ) from error
    if scores.schema != SCHEMA:
        raise DualsysError(f"{path} has schema {scores.schema!r}, expected {SCHEMA!r}")
    return scores
