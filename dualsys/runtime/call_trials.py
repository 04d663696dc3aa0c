"""What one call to System 2 is worth: the same drive gone on with and without it, latency included.

From one recorded state System 1 goes on with the guidance it had; then again, and this time the
answers to a call made there arrive when their latency says. The difference of the two drives'
scores is the gain of the call: what the learned trigger predicts, and what calls are judged by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dualsys.errors import DualsysError
from dualsys.messages import Action, Command, Guidance, Observation, PlanRequest, Stamp
from dualsys.runtime import assembly
from dualsys.runtime.counterfactual import Junction, driven_world
from dualsys.runtime.latency import LatencyModel
from dualsys.runtime.log import read_log
from dualsys.runtime.plan_scores import drive
from dualsys.system1.policy import Policy
from dualsys.system2.planner import Planner
from dualsys.workers import completed
from sim.driving.terms import Terms

WEIGHTS = Terms(safety=2.0, comfort=0.5, efficiency=1.0, economy=0.5)


class Crossroads(msgspec.Struct, frozen=True):
    """A tick of a logged drive, how it is reached, and the guidance that was in force."""

    scenario: str
    seed: int
    tick: int
    commands: np.ndarray  # float32 (tick, A)
    told: Guidance | None
    called: bool  # whether the drive did call here


class CallTrial(msgspec.Struct, frozen=True):
    """What came of one tick with and without a call; scores lie between 0 and 1."""

    scenario: str
    seed: int
    tick: int
    called: bool
    features: list[float]  # what the trigger saw
    without: float
    called_for: float
    harmed_without: bool
    harmed_called_for: bool

    @property
    def gain(self) -> float:
        """What the call was worth."""
        return self.called_for - self.without


class Job(msgspec.Struct, frozen=True):
    """Some crossroads of one scenario for one worker."""

    config: dict[str, Any]
    scenario: str
    places: tuple[Crossroads, ...]
    horizon_s: float


def crossroads(run: Path, calls_only: bool) -> list[Crossroads]:
    """Every tick at which the trigger could decide, or those only at which it did call.

    Raises `DualsysError` for a folder that is no run.
    """
    if not (run / "results.json").is_file():
        raise DualsysError(f"{run} is not the folder of a run; give the out= of a `dualsys eval`")
    results = msgspec.json.decode((run / "results.json").read_bytes())
    rows = {row["epoch"]: row for row in results["episodes"]}
    done: dict[int, list[np.ndarray]] = {}
    told: dict[tuple[int, int], Guidance] = {}
    used: dict[tuple[int, int], int] = {}
    called: set[tuple[int, int]] = set()
    for _, message in read_log(run / "log.mcap"):
        at = message.stamp.epoch, message.stamp.tick
        if isinstance(message, Command):
            done.setdefault(at[0], []).append(message.command)
        elif isinstance(message, Guidance):
            told[at[0], message.stamp.sequence] = message
        elif isinstance(message, Action):
            used[at] = message.guidance_sequence
        elif isinstance(message, PlanRequest):
            called.add((at[0], message.observation.stamp.tick))
    return [
        Crossroads(
            rows[epoch]["scenario"],
            rows[epoch]["seed"],
            tick,
            np.array(done[epoch], np.float32)[:tick],
            told.get((epoch, sequence)),
            (epoch, tick) in called,
        )
        for (epoch, tick), sequence in sorted(used.items())
        if tick < len(done[epoch]) and ((epoch, tick) in called or not calls_only)
    ]


class Branching:
    """Drives both ways on from crossroads of one world."""

    def __init__(
        self,
        world: Any,
        policy: Policy,
        planner: Planner,
        latency: LatencyModel,
        budget: str,
        horizon_s: float,
    ) -> None:
        self._world, self._policy, self._planner = world, policy, planner
        self._latency, self._budget = latency, budget
        self._ticks = round(horizon_s * world.world_spec.control_rate_hz)

    def trial(self, place: Crossroads) -> CallTrial | None:
        """Both ways from one place; None where the drive is over before it."""
        junction = Junction(self._world, place.seed, place.commands)
        if junction.reach() is None:
            return None
        seen: list[Observation] = []
        features: list[np.ndarray] = []

        def alone(step: int, observation: Observation) -> Guidance | None:
            seen.append(observation)
            return place.told

        def watched() -> None:
            if not features:
                features.append(self._policy.situation.features)

        without = drive(
            self._world, self._policy, junction, place.tick, alone, self._ticks, watched
        )
        answers = self._answers(seen[0])

        def advised(step: int, observation: Observation) -> Guidance | None:
            come = [guidance for due, guidance in answers if due <= step]
            return come[-1] if come else place.told

        called_for = drive(
            self._world, self._policy, junction, place.tick, advised, self._ticks, lambda: None
        )
        return CallTrial(
            place.scenario,
            place.seed,
            place.tick,
            place.called,
            features[0].tolist(),
            without.score(WEIGHTS),
            called_for.score(WEIGHTS),
            without.safety == 0,
            called_for.safety == 0,
        )

    def _answers(self, observation: Observation) -> list[tuple[int, Guidance]]:
        """(tick of arrival from now on, guidance) of a call about `observation`."""
        stamp = msgspec.structs.replace(observation.stamp, sequence=1)
        samples = self._policy.ahead(observation.stamp.tick)[None]
        request = PlanRequest(stamp, 1, observation, samples, "trial", math.nan, self._budget)
        found = list(self._planner.think(request, self._budget))
        times = self._latency.answers_ns(max(1, len(found)))
        period = self._world.world_spec.period_ns
        sequenced = [
            msgspec.structs.replace(g, stamp=Stamp(0, 0, n + 1, observation.stamp.tick, 0))
            for n, g in enumerate(found)
        ]
        return [(math.ceil(t / period), g) for t, g in zip(times, sequenced, strict=False)]


def work(job: Job) -> list[CallTrial]:
    """Try the crossroads of a job (runs in a worker process)."""
    with driven_world(job.config, job.scenario) as (world, policy):
        planner = assembly.make_planner(job.config, world.world_spec, {})
        if planner is None:
            raise DualsysError("a call needs a System 2; give system2=vlm or another")
        latency = assembly.make_latency(job.config)
        budget = job.config["system2"]["budget"]
        branching = Branching(world, policy, planner, latency, budget, job.horizon_s)
        found = []
        for place in job.places:
            # A function of the place alone, whichever worker tries it.
            latency.reset(place.seed * 10_000 + place.tick)
            trial = branching.trial(place)
            if trial is not None:
                found.append(trial)
        return found


def try_calls(
    config: dict[str, Any],
    places: list[Crossroads],
    horizon_s: float,
    workers: int,
    progress: Callable[[int], None],
) -> list[CallTrial]:
    """Both ways from all places, in an order that does not depend on the workers."""
    jobs = list(_jobs(config, places, horizon_s))
    found: dict[int, list[CallTrial]] = {}
    for number, trials in completed(work, jobs, workers):
        found[number] = trials
        progress(len(jobs[number].places))
    return [trial for number in sorted(found) for trial in found[number]]


def _jobs(config: dict[str, Any], places: list[Crossroads], horizon_s: float) -> Iterator[Job]:
    for scenario in dict.fromkeys(place.scenario for place in places):
        mine = [place for place in places if place.scenario == scenario]
        for at in range(0, len(mine), 8):
            yield Job(config, scenario, tuple(mine[at : at + 8]), horizon_s)
