"""Runs what is missing of a benchmark, variant by variant, each in parallel."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from dualsys.bench.store import SCHEMA, Cell, Row, Store
from dualsys.bench.summary import summarise
from dualsys.bench.table import PLACEHOLDER, TICKS, Variant, check
from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.runtime.evaluate import check_trigger, rig
from dualsys.runtime.results import git_state, versions
from dualsys.workers import completed, on_ray
from sim import registry

EPISODES_PER_JOB = 4


class Job(msgspec.Struct, frozen=True):
    """Some episodes of one variant and scenario for one worker."""

    variant: str
    config: dict[str, Any]
    scenario: str
    seeds: tuple[int, ...]


def work(job: Job) -> list[Row]:
    """Rows of a job's episodes (runs in a worker process, here or elsewhere)."""
    with rig(job.config, job.scenario) as driven:
        rows = []
        for seed in job.seeds:
            # The seed is the epoch: an episode is the same whatever stands beside it.
            row = driven.run(seed, seed).row
            rows.append({**row, "codes": dict(driven.lockstep.episode_codes)})
        return rows


def bench(
    words: list[str],
    shared: list[str],
    variants: dict[str, Variant],
    scenarios: list[str],
    seeds: list[int],
    out: Path,
    workers: int,
    ray_address: str,
    progress: Callable[[str, int], None],
) -> dict[str, Any]:
    """Run every missing episode, then write bench.json to `out` and return its content.

    `words` began the benchmark, `shared` are those that every variant's `dualsys eval` gets.
    `progress` is told the variant and how many of its episodes are newly there.
    """
    check(variants)
    spec = registry.spec_of(scenarios[0])
    for variant in variants.values():  # a mistake in the last one is told before the first runs
        filled = tuple(TICKS.sub("1", PLACEHOLDER.sub("0", word)) for word in variant.words)
        check_trigger(configured(shared, filled), spec)
    header = {
        "schema": SCHEMA,
        "command": words,
        "shared": shared,
        "variants": msgspec.to_builtins(variants),
        "versions": versions(),
        "git": git_state(),
    }
    store, run = Store(out, header), on_ray(ray_address) if ray_address else completed
    for name in variants:
        cells = [Cell(name, scenario, seed) for scenario in scenarios for seed in seeds]
        missing = [cell for cell in cells if not store.has(cell)]
        progress(name, len(cells) - len(missing))
        if missing:
            told = store.settled(name, resolved(variants[name].words, store, scenarios, seeds))
            config = configured(shared, told)
            jobs = split(config, missing)
            for number, rows in run(work, jobs, workers):
                for seed, row in zip(jobs[number].seeds, rows, strict=True):
                    store.put(Cell(name, jobs[number].scenario, seed), row)
                progress(name, len(rows))
    found = {
        name: {(s, seed): store.get(Cell(name, s, seed)) for s in scenarios for seed in seeds}
        for name in variants
    }
    report = {**header, "scenarios": scenarios, "seeds": seeds, **summarise(found, variants)}
    text = msgspec.json.format(msgspec.json.encode(report, order="sorted"), indent=1)
    (out / "bench.json").write_bytes(text)
    return report


def configured(words: list[str], more: tuple[str, ...]) -> dict[str, Any]:
    """The configuration of `dualsys eval` for one variant; which episodes is said elsewhere."""
    config = load("eval", [*words, *more])
    if config["runtime"]["name"] != "lockstep":
        raise DualsysError("a benchmark runs in lockstep; leave runtime=realtime to `dualsys run`")
    return {**config, "scenario": None, "suite": None, "seeds": ""}


def resolved(
    words: tuple[str, ...], store: Store, scenarios: list[str], seeds: list[int]
) -> tuple[str, ...]:
    """The words with their placeholders replaced.

    "{rate of VARIANT}" is its calls per tick in this benchmark, "{ms of N ticks}" the time of N
    control ticks of the scenarios' world.
    """
    rate_hz = registry.spec_of(scenarios[0]).control_rate_hz

    def rate(match: re.Match[str]) -> str:
        cells = [Cell(match[1], scenario, seed) for scenario in scenarios for seed in seeds]
        rows = [store.get(cell) for cell in cells]
        return f"{sum(r['calls'] for r in rows) / sum(r['steps'] for r in rows):.6f}"

    def milliseconds(match: re.Match[str]) -> str:
        return f"{1000 * int(match[1]) / rate_hz:.3f}"

    return tuple(TICKS.sub(milliseconds, PLACEHOLDER.sub(rate, word)) for word in words)


def split(config: dict[str, Any], missing: list[Cell]) -> list[Job]:
    """The missing episodes of one variant in jobs."""
    jobs = []
    for scenario in dict.fromkeys(cell.scenario for cell in missing):
        seeds = [cell.seed for cell in missing if cell.scenario == scenario]
        for at in range(0, len(seeds), EPISODES_PER_JOB):
            part = tuple(seeds[at : at + EPISODES_PER_JOB])
            jobs.append(Job(missing[0].variant, config, scenario, part))
    return jobs
