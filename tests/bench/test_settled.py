"""A control calls in every scenario as often as what it controls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dualsys.bench.run import Order, settled, split
from dualsys.bench.settled import calls_per_tick, merged
from dualsys.bench.store import SCHEMA, Cell, Store
from dualsys.bench.summary import measured
from dualsys.bench.table import Variant
from dualsys.runtime.assembly import make_trigger
from dualsys.trigger.rules import Trigger
from dualsys.trigger.situation import Situation
from sim.driving.spec import SPEC
from tests.bench.test_summary import row

CALM, BUSY = "driving/merge", "driving/cut_in"
SEEDS = list(range(40))
TABLE = {
    "never": Variant(("system2=none",)),
    "gate": Variant(("trigger=periodic",)),
    "control": Variant(("trigger=random", "trigger.rate={rate of gate}"), "gate"),
}


def steps(scenario: str, seed: int) -> int:
    """Episodes of very different length: half of them end early."""
    return (20 if seed % 2 else 400) + (seed if scenario == CALM else 0)


def calls(scenario: str, seed: int) -> int:
    """Two at the beginning of each, and where it is busy one every 25 ticks."""
    return 2 + (steps(scenario, seed) // 25 if scenario == BUSY else 0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "bench", {"schema": SCHEMA}, {})
    for scenario in (CALM, BUSY):
        for seed in SEEDS:
            drive = {"calls": calls(scenario, seed), "steps": steps(scenario, seed)}
            found.put(Cell("gate", scenario, seed), drive)
    return found


def order(seeds: list[int]) -> Order:
    return Order([], ["system2=scripted"], TABLE, [CALM, BUSY], seeds, Path(), 1)


def test_the_rate_is_that_of_the_scenario_over_all_its_ticks(store: Store) -> None:
    words = settled(order(SEEDS), store, "control").words
    for scenario in (CALM, BUSY):
        total = sum(steps(scenario, seed) for seed in SEEDS)
        rate = sum(calls(scenario, seed) for seed in SEEDS) / total
        assert words[scenario] == ("trigger=random", f"trigger.rate={rate:.6f}")
    assert words[CALM] != words[BUSY]
    assert calls_per_tick([{"calls": 1, "steps": 10}, {"calls": 1, "steps": 90}]) == 0.02


def test_every_job_has_the_rate_of_its_scenario_and_calls_at_it(store: Store) -> None:
    told = settled(order(SEEDS), store, "control")
    jobs = split(told.configs, order(SEEDS).cells("control"))
    assert {job.scenario for job in jobs} == {CALM, BUSY}
    for scenario in (CALM, BUSY):
        (rate,) = {job.config["trigger"]["rate"] for job in jobs if job.scenario == scenario}
        trigger = make_trigger(told.configs[scenario], SPEC, scenario)
        made = ticks = 0
        for seed in range(400):
            trigger.reset(seed)
            ticks += steps(scenario, seed % 40)
            made += len(drawn(trigger, steps(scenario, seed % 40)))
        # Calls that keep apart spread no wider than those of a coin would.
        assert abs(made - rate * ticks) <= 4 * (rate * ticks) ** 0.5
        both = abs(rate - told.configs[CALM if scenario == BUSY else BUSY]["trigger"]["rate"])
        assert both * ticks > 8 * (rate * ticks) ** 0.5, "the other scenario's rate would show"


def test_rates_stay_when_seeds_are_added(store: Store) -> None:
    before = settled(order(SEEDS[:6]), store, "control")
    assert settled(order(SEEDS), store, "control") == before
    assert before.words[CALM] != settled(order(SEEDS), fresh(store), "control").words[CALM]


def fresh(store: Store) -> Store:
    """The same episodes, nothing settled yet."""
    for file in (store.root / "words").rglob("*.json"):
        file.unlink()
    return store


def test_only_what_differs_is_told_by_scenario(store: Store) -> None:
    assert settled(order(SEEDS), store, "never").words == {
        scenario: ("system2=none",) for scenario in (CALM, BUSY)
    }
    assert not (store.root / "words").exists(), "words that refer to nothing are those of the table"
    configs = settled(order(SEEDS), store, "control").configs
    whole = merged(configs)
    rates = {scenario: config["trigger"]["rate"] for scenario, config in configs.items()}
    assert whole["trigger"] == {**configs[CALM]["trigger"], "rate": rates}
    assert {k: v for k, v in whole.items() if k != "trigger"} == {
        k: v for k, v in configs[CALM].items() if k != "trigger"
    }
    assert merged({CALM: configs[CALM]}) == configs[CALM]


def test_the_rate_that_is_printed_is_the_one_that_is_matched() -> None:
    drives = {
        (scenario, seed): {**row(False, calls(scenario, seed)), "steps": steps(scenario, seed)}
        for scenario in (CALM, BUSY)
        for seed in SEEDS
    }
    for group, scenarios in {"all": [CALM, BUSY], CALM: [CALM]}.items():
        found = measured(drives)[group]["mean"]["calls_per_tick"]
        mine = [drive for (scenario, _), drive in drives.items() if scenario in scenarios]
        assert found["value"] == pytest.approx(calls_per_tick(mine))
        assert found["value"] < 0.75 * np.mean([d["calls"] / d["steps"] for d in mine])
        assert found["ci95"][0] < found["value"] < found["ci95"][1]


def drawn(trigger: Trigger, ticks: int) -> list[int]:
    return [t for t in range(ticks) if trigger.decide(t, Situation()) is not None]
