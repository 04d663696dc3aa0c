"""`dualsys bench-engine`: how long System 1's pass and tick take, engine beside engine."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dualsys.bench import planner_bench
from dualsys.bench.parts_bench import bench_parts
from dualsys.bench.side_by_side import REFERENCE, Progress, passes, tables, timed, usable
from dualsys.config import load
from dualsys.errors import DualsysError, UnknownNameError
from dualsys.messages import Observation, Stamp
from dualsys.runtime.assembly import checkpoint_folder, make_policy
from dualsys.runtime.engines import prepared_system1, require_network
from dualsys.runtime.results import git_state, machine, versions
from dualsys.spec import WorldSpec
from dualsys.system1.checkpoint import load_card
from dualsys.system1.compiled import Part
from dualsys.system1.policy import Policy
from dualsys.trigger.rules import NeverTrigger
from kernels.choose import require_engines
from kernels.engine import Engine
from kernels.network import Arrays
from kernels.timing import CACHES, Work, told
from sim import registry

Config = dict[str, Any]
STAGES: tuple[Part, ...] = ("preprocess", "encode", "flow")


def bench_engines(config: Config, progress: Progress) -> dict[str, Any]:
    """Time all engines of the list; `progress` is told of every round.

    Every table holds torch, with which the others are compared. Raises `DualsysError` for settings
    that leave nothing to measure.
    """
    check(config)
    spec, git = registry.spec_of(config["scenario"]), git_state()
    report = {
        "schema": "dualsys-engines/1",
        "scenario": config["scenario"],
        "rounds": config["rounds"],
        "warm_up": config["warm_up"],
        "caches": config["caches"],
        "tables": tables(config, partial(_table, config, spec, progress)),
        "system2": bench_parts(config, spec, progress),
        "versions": versions(),
        "machine": machine(),
        "git": git,
    }
    write(report, Path(config["out"]) / "engines.json")
    return report


def bench_planners(config: Config, progress: Progress) -> dict[str, Any]:
    """Time planners of published sizes; returns what planners.json holds."""
    check(config)
    spec, git = registry.spec_of(config["scenario"]), git_state()
    report = {
        "schema": "dualsys-planners/1",
        "rounds": config["planner_rounds"],
        "planners": [
            planner_bench.bench_planner(name, config, spec, progress) for name in config["planners"]
        ],
        "versions": versions(),
        "machine": machine(),
        "git": git,
    }
    write(report, Path(config["out"]) / "planners.json")
    return report


def write(report: dict[str, Any], file: Path) -> None:
    """Write a report as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))


def check(config: Config) -> None:
    """Raise `DualsysError` for settings that name nothing or leave nothing to measure."""
    require_engines(config["engine"]["names"])
    registry.require(config["scenario"])
    require_network(config)
    planner_bench.check(config)
    if config["planners"] and config["depth"]:
        raise DualsysError("depth=true is about System 1, planners=... about System 2: give one")
    if config["caches"] not in CACHES:
        raise UnknownNameError("state of the caches", config["caches"], CACHES)
    for key in ("threads", "samples"):
        if not config[key]:
            raise DualsysError(f"{key}=[]: give a list of numbers from 1 on")


def _table(
    config: Config, spec: WorldSpec, progress: Progress, threads: int, samples: int
) -> dict[str, Any]:
    """Pass, tick and stages of every usable engine with so many threads and samples."""
    folder, opset = checkpoint_folder(config, spec), config["engine"]["opset"]
    whole = prepared_system1(folder, spec, samples, opset=opset)
    engines, refused = usable(whole, config["engine"]["names"], threads)
    inputs = whole.reference.inputs
    works_of: dict[str, dict[str, Work]] = {
        "pass": {name: passes(engine, inputs) for name, engine in engines.items()},
        "tick": {
            name: ticks_of(policy_of(config, spec, engine, samples), inputs)
            for name, engine in engines.items()
        },
    }
    for stage in STAGES:
        part = prepared_system1(folder, spec, samples, stage, opset=opset)
        found, _ = usable(part, list(engines), threads)
        times = load_card(folder).network.flow_steps if stage == "flow" else 1
        works_of[stage] = {
            name: passes(engine, part.reference.inputs, times) for name, engine in found.items()
        }
    rows: dict[str, dict[str, Any]] = {name: {} for name in engines}
    stalls: list[tuple[int, int]] = []
    rounds, warm_up = config["rounds"], config["warm_up"]
    for what, works in works_of.items():
        label = f"{what}, {threads} thread(s), {samples} sample(s)"
        step = partial(progress, label, rounds + warm_up)
        spans, met = timed(works, rounds, warm_up, step, config["caches"])
        stalls += met
        for name, mine in spans.items():
            rows[name][what] = told(mine, spans[REFERENCE], met)
    return {
        "threads": threads,
        "samples": samples,
        "inputs": whole.reference.source,
        "precision": {name: engine.precision for name, engine in engines.items()},
        "refused": refused,
        "engines": rows,
        "stalls": len(stalls),
        "longest_stall_ms": max((b - a for a, b in stalls), default=0) / 1e6,
    }


def policy_of(config: Config, spec: WorldSpec, engine: Engine, samples: int) -> Policy:
    """The policy of a run on the wall clock, but with a pass in every tick."""
    system1 = {**config["system1"], "replan_s": 1 / spec.control_rate_hz, "samples": samples}
    run = load("eval", ["system2=none", "runtime=realtime"])
    return make_policy({**run, "system1": system1}, spec, engine, NeverTrigger())


def ticks_of(policy: Policy, inputs: list[Arrays]) -> Work:
    """Observations of what was recorded, one tick after the other."""
    cameras = [name for name in inputs[0] if name[:6] == "image_"]
    scene = np.zeros((0, 0), np.float32)
    ticks = itertools.count()  # a round may come twice, a tick that did would make no pass

    def work(number: int) -> None:
        arrays, tick = inputs[number % len(inputs)], next(ticks)
        images = {name[6:]: arrays[name][0] for name in cameras}
        stamp = Stamp(0, 0, tick, tick, 0)
        ages = dict.fromkeys(images, tick)
        seen = Observation(stamp, images, ages, arrays["state"][0], scene, "")
        policy.act(seen, None, 0)

    return work


def draw(report: dict[str, Any], file: Path) -> None:
    """A bar for every engine's tick and pass, up to p50 and p99, one panel per table."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tables = report["tables"]
    figure = Figure(figsize=(4.5 * len(tables), 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, table in zip(figure.subplots(1, len(tables), squeeze=False)[0], tables, strict=True):
        names = list(table["engines"])
        for place, what in enumerate(("tick", "pass")):
            rows = [table["engines"][name][what] for name in names]
            middle = np.arange(len(names)) + 0.4 * place
            p50 = [row["p50_ms"] for row in rows]
            tails = [row["p99_ms"] - row["p50_ms"] for row in rows]
            errors = [[0.0] * len(rows), tails]
            axes.bar(middle, p50, 0.38, yerr=errors, capsize=3, label=f"{what}, p50 to p99")
        axes.set_xticks(np.arange(len(names)) + 0.2, names, rotation=30, ha="right")
        axes.set_title(f"{table['threads']} thread(s), {table['samples']} sample(s)")
        axes.set_ylabel("ms")
        axes.grid(axis="y", alpha=0.3)
    figure.axes[0].legend()
    unfinished = file.with_suffix(".partial")
    figure.savefig(unfinished, format="png", dpi=100)
    unfinished.replace(file)
