"""The two branches of a call trial are the closed loop itself: with that one call, and without."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dualsys.bench.rig import rig
from dualsys.config import load
from dualsys.messages import Action, Command, Guidance, PlanRequest
from dualsys.runtime import assembly
from dualsys.runtime.log import read_log
from dualsys.trigger.situation import Situation
from dualsys.whatif import call_trials
from dualsys.whatif.call_trials import Branching, CallTrial
from dualsys.whatif.crossroads import Crossroads, comparable, crossroads, drawn
from dualsys.whatif.drives import stretch
from dualsys.whatif.junction import driven_world
from sim.driving.terms import Terms

SCENARIO, SEED, ASKED, TICKS = "driving/merge", 3, 20, 12


class Calls:
    """A trigger that calls at given ticks, and keeps what it saw at every one."""

    def __init__(self, *ticks: int) -> None:
        self.ticks, self.seen = ticks, {}

    def reset(self, epoch: int) -> None: ...

    def decide(self, tick: int, seen: Situation) -> str | None:
        self.seen[tick] = seen.features
        return "told to" if tick in self.ticks else None


class Two:
    """A planner with two answers of different plans; the second one is valued less."""

    thought = None
    faults: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        self.asked: list[PlanRequest] = []

    def warm_up(self, budget: str) -> None: ...

    def think(self, request: PlanRequest, budget: str) -> Iterator[Guidance]:
        self.asked.append(request)
        for plan, value in ((1, 0.5), (3, 0.1)):
            told = Guidance.of_plan(request.stamp, request.request_id, plan, 2)
            yield msgspec.structs.replace(told, value=value, final=plan == 3)


def run(out: Path, words: list[str], trigger: Calls, planner: Any = None) -> list[np.ndarray]:
    """An episode under a trigger, left as the folder of a run: its commands."""
    config = load("eval", [f"scenario={SCENARIO}", "system2=scripted", *words, f"out={out}"])
    out.mkdir()
    with rig(config, SCENARIO) as driven:
        driven.lockstep._policy._counsel.trigger = trigger
        driven.lockstep._planner = planner or Two()
        driven.run(0, SEED, out / "log.mcap")
    rows = [{"scenario": SCENARIO, "epoch": 0, "seed": SEED}]
    (out / "results.json").write_text(json.dumps({"config": config, "episodes": rows}))
    return [m.command for _, m in read_log(out / "log.mcap") if isinstance(m, Command)]


def tried(
    run: Path, place: Crossroads, monkeypatch: pytest.MonkeyPatch, planner: Any = None
) -> tuple[np.ndarray, np.ndarray, CallTrial]:
    """Commands (T, A) without and with the call, as the trial drives them, and the trial."""
    config = json.loads((run / "results.json").read_text())["config"]
    driven: dict[float, np.ndarray] = {}

    def drive(*arguments: Any) -> Terms:
        commands = np.stack([at.command for at in stretch(*arguments)])
        terms = Terms(1.0, 1.0, 1.0, 0.25 * len(driven))  # another one each: who is who
        driven[terms.score(call_trials.WEIGHTS)] = commands
        return terms

    monkeypatch.setattr(call_trials, "drive", drive)
    with driven_world(config, SCENARIO) as (world, driver):
        spec = world.world_spec
        latency = assembly.make_latency(config, spec)
        acceptance = assembly.make_acceptance(config, spec)
        seconds = TICKS / spec.control_rate_hz
        branching = Branching(
            world, driver, planner or Two(), latency, acceptance, "short", seconds
        )
        trial = branching.trial(place)
    assert trial is not None
    return driven[trial.without], driven[trial.called_for], trial


@pytest.fixture(scope="module")
def steering(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Words of a System 1 that steers by all it is told, if badly."""
    folder = tmp_path_factory.mktemp("listening")
    weights, draw = load_file(untrained / "model.safetensors"), np.random.default_rng(0)
    for name, array in weights.items():
        # An untrained network's last layers are zeros: what it is told would change nothing.
        if not array.any():
            weights[name] = draw.normal(0, 0.3, array.shape).astype(array.dtype)
    save_file(weights, folder / "model.safetensors")
    shutil.copy(untrained / "card.json", folder)
    words = [f"system1.checkpoint={folder}", "system1.noise_scale=1", "system1.samples=3"]
    return [*words, "runtime.episode_s=3", "trigger=always"]


FIXED = ["latency=fixed", "latency.system2_ms=400"]  # the answers come after 3 and 6 ticks
NONE = ["latency=fixed", "latency.system2_ms=0"]


@pytest.mark.parametrize("delay", [0, 1, 2])
@pytest.mark.parametrize(
    ("words", "arrivals"),
    [
        (FIXED, {0: [3, 6], 1: [4, 7], 2: [5, 8]}),
        (NONE, {0: [1], 1: [1], 2: [2]}),
        (["latency=ticks", "latency.system2_ticks=0"], {0: [1], 1: [1], 2: [2]}),
        (["latency=ticks", "latency.system2_ticks=2"], {0: [2], 1: [3], 2: [4]}),
        ([*FIXED, "trigger.latest_s=0.3334"], {0: [3], 1: [4], 2: [5]}),
        ([*FIXED, "trigger.latest_s=0.2667"], {0: [3], 1: [4], 2: []}),
        ([*FIXED, "trigger.least_value=0.3"], {0: [3], 1: [4], 2: [5]}),
        ([*NONE, "trigger.least_value=0.3"], {0: [], 1: [], 2: []}),
    ],
)
def test_the_branches_repeat_the_run_with_the_call_and_the_run_without(
    delay: int,
    words: list[str],
    arrivals: dict[int, list[int]],
    steering: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = [*steering, *words, f"latency.system1_ticks={delay}"]
    called = run(tmp_path / "called", words, Calls(ASKED))[ASKED : ASKED + TICKS]
    left = run(tmp_path / "left", words, Calls())[ASKED : ASKED + TICKS]
    log = [m for _, m in read_log(tmp_path / "called/log.mcap")]
    used = {m.guidance_sequence: m.stamp.tick for m in reversed(log) if isinstance(m, Action)}
    came = sorted(tick - ASKED for sequence, tick in used.items() if sequence >= 0)
    assert came == arrivals[delay], "what the test is about"
    (place,) = (p for p in crossroads(tmp_path / "called", calls_only=True))
    assert place.tick == ASKED
    without, called_for, trial = tried(tmp_path / "called", place, monkeypatch)
    np.testing.assert_array_equal(without, left)
    np.testing.assert_array_equal(called_for, called)
    assert (trial.gain != 0) == (trial.without != trial.called_for)
    differ = np.flatnonzero((without != called_for).any(1))
    if came:
        assert differ[0] == came[0] + delay, "an answer acts a System-1 latency after it came"
    else:
        assert not len(differ)


def test_a_tried_call_sends_what_the_run_sends(
    steering: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also between two passes, where the samples are what is left of the last one's."""
    words = [*steering, *FIXED, "latency.system1_ticks=1", "system1.replan_s=0.2"]
    for asked in (ASKED, ASKED + 1):
        really, again = Two(), Two()
        run(tmp_path / f"{asked}", words, Calls(asked), really)
        (place,) = crossroads(tmp_path / f"{asked}", calls_only=True)
        tried(tmp_path / f"{asked}", place, monkeypatch, again)
        (one,), (other,) = really.asked, again.asked
        np.testing.assert_array_equal(one.samples, other.samples)
        assert one.samples.shape[0] == 3
        np.testing.assert_array_equal(one.observation.state, other.observation.state)
        assert one.observation.stamp == other.observation.stamp
        assert (one.request_id, one.budget) == (other.request_id, other.budget)


@pytest.mark.parametrize("delay", [0, 2])
def test_a_trial_shows_the_gate_what_it_would_see_in_the_loop(
    delay: int, steering: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trigger = Calls(0, ASKED)
    words = [*steering, *FIXED, f"latency.system1_ticks={delay}", "system1.replan_s=0.2"]
    run(tmp_path / "run", words, trigger)
    places = {p.tick: p for p in crossroads(tmp_path / "run", calls_only=False)}
    passes = {p.last_pass.tick for p in places.values()}
    ticks = [0, 1, 3, 9, 10, 11, ASKED + 12, ASKED + 13]
    assert passes & set(ticks)
    assert set(ticks) - passes, "between two passes, too"
    for tick in ticks:
        _, _, trial = tried(tmp_path / "run", places[tick], monkeypatch)
        np.testing.assert_array_equal(np.float32(trial.features), trigger.seen[tick])
    guided = [places[tick].told is not None for tick in ticks]
    assert set(guided) == {True, False}


def test_where_an_earlier_answer_is_still_to_come_nothing_is_tried(
    steering: list[str], tmp_path: Path
) -> None:
    """Answers come 4 and 7 ticks after a call."""
    words = [*steering, *FIXED, "latency.system1_ticks=1"]
    run(tmp_path / "run", words, Calls(5, 20, 22, 38))
    free = [p.tick for p in comparable(crossroads(tmp_path / "run", calls_only=False))]
    # The call at 22 ends the thought before it with its first answer, at 24, and waits so long.
    assert free == [*range(6), *range(12, 21), *range(30, 39)]
    called = comparable(crossroads(tmp_path / "run", calls_only=True))
    assert [p.tick for p in called] == [5, 20, 38]


def test_without_latency_the_action_that_asks_has_no_answer_yet(
    steering: list[str], tmp_path: Path
) -> None:
    run(tmp_path / "run", [*steering, *NONE, "latency.system1_ticks=0"], Calls(5, 6, 20))
    places = crossroads(tmp_path / "run", calls_only=False)
    assert comparable(places) == places


def test_places_are_drawn_where_system_1_is_unsure(steering: list[str], tmp_path: Path) -> None:
    run(tmp_path / "run", [*steering, *NONE, "latency.system1_ticks=0"], Calls(5))
    places = crossroads(tmp_path / "run", calls_only=False)
    least_sure = sorted(places, key=lambda p: p.uncertainty)[-len(places) // 5 :]
    bound = least_sure[0].uncertainty
    few = 6
    assert len(places) > 5 * few
    assert all(p.uncertainty >= bound for p in drawn(places, few, 1.0, 0))
    half = drawn(places, few, 0.5, 0)
    assert sum(p.uncertainty >= bound for p in half) >= few / 2
    assert [p.tick for p in half] == sorted({p.tick for p in half})
    assert drawn(places, 10_000, 0.5, 0) == places
    assert drawn([], few, 0.5, 0) == []
