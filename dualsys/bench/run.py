"""Runs what is missing of a benchmark, variant by variant, each in parallel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from dualsys.bench.contents import contents
from dualsys.bench.engines import Engines
from dualsys.bench.rig import Rig, check_trigger, rig
from dualsys.bench.settled import (
    Settled,
    calls_per_tick,
    configured,
    merged,
    refers,
    resolved,
    settle,
)
from dualsys.bench.store import SCHEMA, Cell, Row, Store
from dualsys.bench.summary import summarise
from dualsys.bench.table import PLACEHOLDER, Variant, check
from dualsys.device import planner_device
from dualsys.errors import DualsysError, WorkerError, refusal
from dualsys.runtime.assembly import MACHINE_KEYS, make_latency
from dualsys.runtime.results import git_state, machine, versions
from dualsys.workers import cause, completed, on_ray
from sim import registry

EPISODES_PER_JOB = 4
ELSEWHERE = (*MACHINE_KEYS, "scenario", "suite", "seeds")  # a cell says which episodes


class Order(msgspec.Struct, frozen=True):
    """What is asked of a benchmark.

    `words` began it, `shared` are those that every variant's `dualsys eval` gets.
    """

    words: list[str]
    shared: list[str]
    variants: dict[str, Variant]
    scenarios: list[str]
    seeds: list[int]
    out: Path
    workers: int
    ray_address: str = ""

    def cells(self, variant: str) -> list[Cell]:
        """The episodes of a variant."""
        return [Cell(variant, scenario, seed) for scenario in self.scenarios for seed in self.seeds]


class Job(msgspec.Struct, frozen=True):
    """Some episodes of one variant and scenario for one worker."""

    variant: str
    config: dict[str, Any]
    scenario: str
    seeds: tuple[int, ...]


def work(job: Job) -> list[Row]:
    """Rows of a job's episodes (runs in a worker process, here or elsewhere)."""
    with rig(job.config, job.scenario) as driven:
        return [_episode(driven, job, seed) for seed in job.seeds]


def _episode(driven: Rig, job: Job, seed: int) -> Row:
    try:
        # The seed is the epoch: an episode is the same whatever stands beside it.
        row = driven.run(seed, seed).row
    except DualsysError:
        raise
    except Exception as error:
        place = Cell(job.variant, job.scenario, seed).text
        raise WorkerError(f"the episode {place} failed: {cause(error)}") from error
    codes = dict(driven.lockstep.episode_codes)
    device = planner_device(job.config["system2"])
    if device is not None and driven.planner_engine["used"] != "torch":
        device = f"{device}, {driven.planner_engine['used']}"
    return {**row, "codes": codes, "engine": driven.engine["used"], "device": device}


def bench(order: Order, progress: Callable[[str, int], None]) -> dict[str, Any]:
    """Run every missing episode, then write bench.json to `order.out` and return its content.

    `progress` is told the variant and how many of its episodes are newly there. What ends it
    early names the command that completes it.
    """
    check(order.variants)
    spec, configs = registry.spec_of(order.scenarios[0]), {}
    for name, variant in order.variants.items():  # mistakes in the last are told before all runs
        filled = tuple(PLACEHOLDER.sub("0", word) for word in variant.words)
        configs[name] = configured(order.shared, filled)
        check_trigger(configs[name], spec)
        make_latency(configs[name], spec)
    identity = {
        "schema": SCHEMA,
        "shared": order.shared,
        "variants": {name: list(variant.words) for name, variant in order.variants.items()},
        "contents": contents(configs.values(), spec),
        "versions": versions(),
        "git": git_state(),
    }
    store = Store(order.out, identity, {"command": order.words, "machine": machine()})
    with resumable(store):
        engines = Engines()
        for name, config in configs.items():
            first = next((cell for cell in order.cells(name) if store.has(cell)), None)
            if first is not None:
                engines.take(first, config, store.get(first))
        told = {name: _run(order, store, engines, name, progress) for name in order.variants}
        asked = {"variants": msgspec.to_builtins(order.variants)}
        report = {**identity, **asked, **_found(order, store, engines, told)}
        store.report(report)
    return report


@contextmanager
def resumable(store: Store) -> Iterator[None]:
    """Note how long it took; an end before the end tells how the benchmark is completed."""
    begun = time.perf_counter()
    how = f"what was finished is kept; complete it with: dualsys bench --resume out={store.root}"
    try:
        yield
    except WorkerError as error:
        raise DualsysError(f"{error.what}; {how}") from error
    except OSError as error:
        raise DualsysError(f"{refusal(error)}; {how}") from error
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(how) from error
    finally:
        with suppress(OSError):  # on a full disk, what ended it is the thing to tell
            store.ended(time.perf_counter() - begun)


def _run(
    order: Order,
    store: Store,
    engines: Engines,
    name: str,
    progress: Callable[[str, int], None],
) -> Settled:
    """Run what is missing of a variant. Returns what it was run with."""
    cells = order.cells(name)
    missing = [cell for cell in cells if not store.has(cell)]
    progress(name, len(cells) - len(missing))
    told = settled(order, store, name)
    jobs = split(told.configs, missing)
    if not jobs:
        return told
    run = on_ray(order.ray_address) if order.ray_address else completed
    for number, rows in run(work, jobs, order.workers):
        for seed, row in zip(jobs[number].seeds, rows, strict=True):
            cell = Cell(name, jobs[number].scenario, seed)
            engines.take(cell, jobs[number].config, row)
            store.put(cell, row)
        progress(name, len(rows))
    return told


def _found(
    order: Order, store: Store, engines: Engines, told: dict[str, Settled]
) -> dict[str, Any]:
    """What depends on the episodes alone, whoever ran them: the rest of bench.json."""
    rows, used, devices = {}, {}, {}
    for name, variant in told.items():
        rows[name] = {(cell.scenario, cell.seed): store.get(cell) for cell in order.cells(name)}
        for (scenario, seed), row in rows[name].items():
            engines.take(Cell(name, scenario, seed), variant.configs[scenario], row)
            used[name], devices[name] = row["engine"], row["device"]
    return {
        "scenarios": order.scenarios,
        "seeds": order.seeds,
        "settled": {
            name: variant.words
            for name, variant in told.items()
            if refers(order.variants[name].words)
        },
        "configurations": {
            name: {k: v for k, v in merged(variant.configs).items() if k not in ELSEWHERE}
            for name, variant in told.items()
        },
        "engines": used,
        "devices": devices,
        **summarise(rows, order.variants),
    }


def settled(order: Order, store: Store, name: str) -> Settled:
    """A variant's words and configurations; what it refers to has run."""
    words = order.variants[name].words
    if not refers(words):
        return settle(order.shared, dict.fromkeys(order.scenarios, words))

    def filled(scenario: str) -> tuple[str, ...]:
        def rate(other: str) -> float:
            return calls_per_tick(store.get(Cell(other, scenario, seed)) for seed in order.seeds)

        return store.settled(name, scenario, lambda: resolved(words, rate))

    return settle(order.shared, {scenario: filled(scenario) for scenario in order.scenarios})


def split(configs: Mapping[str, dict[str, Any]], missing: list[Cell]) -> list[Job]:
    """The missing episodes of one variant in jobs, under the configuration of their scenario."""
    jobs = []
    for scenario in dict.fromkeys(cell.scenario for cell in missing):
        seeds = [cell.seed for cell in missing if cell.scenario == scenario]
        for at in range(0, len(seeds), EPISODES_PER_JOB):
            part = tuple(seeds[at : at + EPISODES_PER_JOB])
            jobs.append(Job(missing[0].variant, configs[scenario], scenario, part))
    return jobs
