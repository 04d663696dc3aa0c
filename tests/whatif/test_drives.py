"""A drive gone on with from a recorded state is the closed loop of the run itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dualsys.bench.rig import rig
from dualsys.config import load
from dualsys.messages import Action, Command, Guidance, PlanRequest
from dualsys.runtime.log import read_log
from dualsys.runtime.transit import Midway
from dualsys.whatif.crossroads import Crossroads, crossroads
from dualsys.whatif.drives import always, stretch
from dualsys.whatif.junction import Junction, driven_world

SCENARIO, TICKS = "driving/merge", 12


@pytest.fixture(scope="module", params=[0, 2])
def asked_once(
    request: pytest.FixtureRequest, untrained: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run with one call, at its beginning, and a System 1 that is late by so many ticks."""
    out = tmp_path_factory.mktemp("asked")
    words = [f"scenario={SCENARIO}", "system2=scripted", "trigger.period_s=100", f"out={out}"]
    words += ["latency.system2_ms=700", f"latency.system1_ticks={request.param}"]
    # The noise lets an untrained network steer.
    words += [f"system1.checkpoint={untrained}", "runtime.episode_s=4", "system1.noise_scale=1"]
    config = load("eval", words)
    with rig(config, SCENARIO) as driven:
        driven.run(0, 3, out / "log.mcap")
    rows = [{"scenario": SCENARIO, "epoch": 0, "seed": 3}]
    (out / "results.json").write_text(json.dumps({"config": config, "episodes": rows}))
    return out


def gone_on(run: Path, places: list[Crossroads], known: bool) -> list[np.ndarray]:
    """The commands of each stretch; `known`: with what was under way."""
    config = json.loads((run / "results.json").read_text())["config"]
    found = []
    with driven_world(config, SCENARIO) as (world, driver):
        for place in places:
            junction = Junction(world, place.seed, place.commands)
            told, midway = always(place.told), place.midway if known else None
            way = stretch(world, driver, junction, place.tick, told, TICKS, midway)
            found.append(np.stack([at.command for at in way]))
    return found


def test_under_the_recorded_guidance_a_branch_repeats_the_run(asked_once: Path) -> None:
    log = [m for _, m in read_log(asked_once / "log.mcap")]
    done = np.stack([m.command for m in log if isinstance(m, Command)])
    assert sum(isinstance(m, PlanRequest) for m in log) == 1
    arrived = min(m.stamp.tick for m in log if isinstance(m, Action) and m.guidance_sequence >= 0)
    places = {p.tick: p for p in crossroads(asked_once, calls_only=False)}
    # Before the answer came nothing was told, and the branch has none either: it must end before.
    ticks = [0, arrived, arrived + 1, arrived + 5, arrived + 6, max(places)]
    assert places[arrived].told is not None
    chosen = [places[tick] for tick in ticks]
    found = gone_on(asked_once, chosen, known=True)
    for place, commands in zip(chosen, found, strict=True):
        same = min(len(commands), arrived if place.told is None else TICKS, len(done) - place.tick)
        assert same > 0
        np.testing.assert_array_equal(commands[:same], done[place.tick : place.tick + same])
    assert len(np.unique(found[2], axis=0)) > 3, "it steers"
    assert any(isinstance(m, Guidance) for m in log)


def test_where_nothing_is_known_the_last_command_is_held(asked_once: Path) -> None:
    delay = json.loads((asked_once / "results.json").read_text())["config"]["latency"]
    late = delay["system1_ticks"]
    place = next(p for p in crossroads(asked_once, calls_only=False) if p.tick == 20)
    (commands,) = gone_on(asked_once, [place], known=False)
    held = np.tile(place.commands[-1], (late, 1))
    np.testing.assert_array_equal(commands[:late], held)
    assert (commands[late] != place.commands[-1]).any()


def test_a_branch_is_late_and_shielded_as_the_run_is(asked_once: Path) -> None:
    """Told something else, System 1 acts on it a latency later; without a past it falls back."""
    delay = json.loads((asked_once / "results.json").read_text())["config"]["latency"]
    late = delay["system1_ticks"]
    place = next(p for p in crossroads(asked_once, calls_only=False) if p.tick == 0)
    (commands,) = gone_on(asked_once, [place], known=True)
    brakes = np.zeros((late, 2))
    brakes[:, 0] = -10 / 15 * np.arange(1, late + 1)  # the fallback comes gently
    np.testing.assert_allclose(commands[:late], brakes, rtol=1e-6)
    assert place.midway == Midway(place.midway.session, 0)
