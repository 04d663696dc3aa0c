"""What one call to System 2 is worth: the same drive gone on with and without it, latency included.

From one recorded state System 1 goes on with the guidance it had; then again, and this time the
answers to a call made there arrive when their latency says. The difference of the two drives'
scores is the gain of the call: what the learned trigger predicts, and what calls are judged by.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dualsys.errors import DualsysError
from dualsys.messages import Guidance, Observation, PlanRequest
from dualsys.runtime import assembly, planners
from dualsys.runtime.latency import LatencyModel
from dualsys.runtime.transit import Midway
from dualsys.system2.planner import Planner
from dualsys.trigger.acceptance import Acceptance
from dualsys.trigger.gate import Judged
from dualsys.whatif.crossroads import Crossroads
from dualsys.whatif.driver import Driver
from dualsys.whatif.drives import Told, always, drive
from dualsys.whatif.junction import Junction, driven_world, tried
from dualsys.workers import by_scenario, completed
from sim import registry
from sim.driving.terms import WEIGHTS, Terms

SCHEMA = "dualsys-call-trials/2"


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


class Weighed(msgspec.Struct, frozen=True):
    """Both drives from one state."""

    without: Terms
    called_for: Terms

    @property
    def gain(self) -> float:
        """What the call was worth."""
        return self.called_for.score(WEIGHTS) - self.without.score(WEIGHTS)


class Job(msgspec.Struct, frozen=True):
    """Some crossroads of one scenario for one worker."""

    config: dict[str, Any]
    scenario: str
    places: tuple[Crossroads, ...]
    horizon_s: float


class Branching:
    """Drives both ways on from crossroads of one world."""

    def __init__(
        self,
        world: Any,
        driver: Driver,
        planner: Planner,
        latency: LatencyModel,
        acceptance: Acceptance,
        budget: str,
        horizon_s: float,
    ) -> None:
        """`acceptance` is applied to the answers of the tried call, when they arrive."""
        self._world, self._driver, self._planner = world, driver, planner
        self._latency, self._acceptance, self._budget = latency, acceptance, budget
        self._fault = driver.policy.fault
        self._ticks = round(horizon_s * world.world_spec.control_rate_hz)

    def trial(self, place: Crossroads) -> CallTrial | None:
        """Both ways from one place; None where the drive is over before it."""
        junction = Junction(self._world, place.seed, place.commands)
        noticed: dict[int, Observation] = {}

        def passing(tick: int, frame: Any, info: dict[str, Any]) -> None:
            if tick in (place.last_pass.tick, place.tick):
                stamped = tick, place.midway.session, place.midway.epoch
                noticed[tick] = tried(self._world, frame, info, *stamped)

        if junction.reach(passing) is None:
            return None
        self.draw(place.seed, place.tick)
        features, samples = self._seen(place, noticed)
        here = noticed[place.tick]
        weighed = self.both(junction, here, place.told, place.midway, samples)
        without, called_for = weighed.without, weighed.called_for
        return CallTrial(
            place.scenario,
            place.seed,
            place.tick,
            place.called,
            features.tolist(),
            without.score(WEIGHTS),
            called_for.score(WEIGHTS),
            without.safety == 0,
            called_for.safety == 0,
        )

    def draw(self, seed: int, tick: int) -> None:
        """Make the next latencies a function of the place alone, whichever worker tries it."""
        self._latency.reset(seed * 10_000 + tick)

    def both(
        self,
        junction: Junction,
        observation: Observation,
        told: Guidance | None,
        midway: Midway,
        samples: np.ndarray | None = None,
    ) -> Weighed:
        """The drives without and with a call about `observation`, under the guidance `told`.

        `samples` (K, T, A) are System 1's sampled chunks that the call sends; None: those of a
        System 1 that goes on at this tick, whose last pass is not known.
        """
        tick = observation.stamp.tick
        if samples is None:
            samples = self._sampled(observation, told, midway)
        called = self._called(observation, told, samples)
        without, called_for = (
            drive(self._world, self._driver, junction, tick, way, self._ticks, midway)
            for way in (always(told), called)
        )
        return Weighed(without, called_for)

    def _seen(
        self, place: Crossroads, noticed: dict[int, Observation]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The trigger's features (F,) and System 1's samples (K, T, A) of a tick, as in the run.

        How sure System 1 is and what it perceives are of its last pass, begun with what it was
        committed to then; the state and the guidance are of the tick itself.
        """
        policy, last = self._driver.policy, place.last_pass
        samples = self._sampled(noticed[last.tick], last.told, last.midway)
        if last.tick != place.tick:
            here = noticed[place.tick]
            policy.act(here, place.told, here.stamp.time_ns)
            samples = policy.sampled(place.tick)
        return policy.situation.features, samples

    def _sampled(
        self, observation: Observation, told: Guidance | None, midway: Midway
    ) -> np.ndarray:
        """System 1's samples (K, T, A) when it goes on at this tick."""
        policy, tick = self._driver.policy, observation.stamp.tick
        self._driver.start(tick, told, midway)
        policy.act(observation, told, observation.stamp.time_ns)
        return policy.sampled(tick)

    def _called(self, observation: Observation, told: Guidance | None, samples: np.ndarray) -> Told:
        """What System 1 is told by tick from now on, with a call about `observation`."""
        number = observation.stamp.tick + 1  # as System 1 numbers its first call
        request = PlanRequest(
            observation.stamp, number, observation, samples, "trial", math.nan, self._budget
        )
        found = list(self._planner.think(request, self._budget))
        times = self._latency.answers_ns(max(1, len(found)))
        period = self._world.world_spec.period_ns
        # The request leaves System 1 with the action of its tick, which no answer can change.
        asked = self._latency.system1_ticks
        due = (max(1, asked - -time // period) for time in times)
        usable = ((t, g) for t, g in zip(due, found, strict=False) if self._fault(g) is None)
        newest = dict(usable)  # of answers that come in one tick, System 1 sees the last
        taken = [
            (after, guidance)
            for after, guidance in newest.items()
            if self._acceptance.refusal(after, guidance.value) is None
        ]
        return lambda step: next((g for after, g in reversed(taken) if after <= step), told)


def save_trials(trials: list[CallTrial], judged: Judged, path: Path, about: Any) -> None:
    """Write trials, and whose situations they are, as JSON; it appears whole or not at all."""
    report = {"schema": SCHEMA, "judged": judged, "trials": trials, "about": about}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(msgspec.json.encode(report))
    partial.replace(path)


class SavedTrials(msgspec.Struct):
    """A file of `save_trials`."""

    schema: str
    judged: Judged
    trials: list[CallTrial]
    about: dict[str, Any]


def load_trials(path: Path) -> SavedTrials:
    """Read trials. Raises `DualsysError` when the file holds none."""
    try:
        saved = msgspec.json.decode(path.read_bytes(), type=SavedTrials)
    except (OSError, msgspec.DecodeError) as error:
        raise DualsysError(
            f"{path} holds no call trials ({error}); make them with launch/try_calls.py"
        ) from error
    if saved.schema != SCHEMA:
        raise DualsysError(f"{path} has schema {saved.schema!r}, expected {SCHEMA!r}")
    return saved


def work(job: Job) -> list[CallTrial]:
    """Try the crossroads of a job (runs in a worker process)."""
    with driven_world(job.config, job.scenario) as (world, driver):
        planner = planners.make_planner(job.config, world.world_spec, {})
        if planner is None:
            raise DualsysError("a call needs a System 2; give system2=vlm or another")
        latency = assembly.make_latency(job.config, world.world_spec, job.scenario)
        budget = job.config["system2"]["budget"]
        acceptance = assembly.make_acceptance(job.config, world.world_spec)
        branching = Branching(world, driver, planner, latency, acceptance, budget, job.horizon_s)
        found = []
        for place in job.places:
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
    """Both ways from all places, in an order that does not depend on the workers.

    Raises `DualsysError` for places outside driving: elsewhere no terms judge a stretch.
    """
    foreign = {p.scenario for p in places if registry.spec_of(p.scenario).domain != "driving"}
    if foreign:
        raise DualsysError(f"calls are tried in driving worlds, not in {sorted(foreign)}")
    jobs = [Job(config, scenario, part, horizon_s) for scenario, part in by_scenario(places, 8)]
    found: dict[int, list[CallTrial]] = {}
    for number, trials in completed(work, jobs, workers):
        found[number] = trials
        progress(len(jobs[number].places))
    return [trial for number in sorted(found) for trial in found[number]]
