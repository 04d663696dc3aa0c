"""`dualsys build`: makes engines before anybody controls anything, and compares them with torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from dualsys.bench.run import Order, bench
from dualsys.bench.table import load_table
from dualsys.config import parse_seeds
from dualsys.errors import DualsysError, UnknownNameError
from dualsys.runtime.assembly import checkpoint_folder
from dualsys.runtime.engines import NETWORK, ONNX, prepared_file, prepared_system1, require_network
from dualsys.runtime.planner_engines import prepared_system2
from dualsys.runtime.planners import load_planning
from dualsys.runtime.results import git_state, machine, versions
from dualsys.spec import WorldSpec
from kernels import parity
from kernels.cache import Prepared
from kernels.choose import built, identity_of, opened, require_engines
from kernels.engine import Engine
from kernels.parity import TOLERANCES
from kernels.registry import RECIPES
from sim import registry

VERIFY = ("quick", "full")
EPISODES = 200  # of a full verification
SUITES = {"driving": "driving", "manipulation": "mt10"}  # of a domain's full verification
LOOP = ("system2=scripted", "latency=fixed")  # a System 2 that takes no time of its own
Config = dict[str, Any]
Progress = Callable[[str], None]
Episodes = Callable[[str, int, int], None]


def check(config: Config) -> None:
    """Raise `UnknownNameError` for names of a configuration that nothing is known by."""
    if config["verify"] not in VERIFY:
        raise UnknownNameError("verify", config["verify"], VERIFY)
    require_engines(config["engine"]["names"])
    if config["verify"] == "full" or config["system1"]["driver"] != ONNX:
        require_network(config)  # torch drives beside the others, and has no module of a file
    registry.require(config["scenario"])
    if config["suite"] != "auto":
        registry.suite(config["suite"])


def build(config: Config, progress: Progress, episodes: Episodes) -> dict[str, Any]:
    """Build all engines of the list and compare them; returns what build.json holds.

    `progress` is told the engine that comes next, `episodes` the variant, how many episodes of it
    are newly there and how many there will be.
    """
    check(config)
    names, threads = list(config["engine"]["names"]), config["engine"]["threads"]
    spec, git = registry.spec_of(config["scenario"]), git_state()
    prepared = prepared_of(config, spec)
    rows = {}
    for name in names:
        progress(name)
        row, engine = examined(prepared, name, threads)
        ours = engine is not None and config["system1"]["driver"] == NETWORK
        rows[name] = row | by_axis(engine, prepared, spec) if engine is not None and ours else row
    report: dict[str, Any] = {
        "scenario": config["scenario"],
        "network": dict(prepared.network.identity),
        "folder": prepared.folder.name,  # of the cache: the report names no place of a machine
        "checked_on": prepared.reference.source,
        "tolerances": msgspec.to_builtins(TOLERANCES),
        "engines": rows,
        "system2": _system2(config, spec, progress) if looks(config) else None,
        "closed_loop": None,
        "versions": versions(),
        "machine": machine(),
        "git": git,
    }
    if config["verify"] == "full":
        report["closed_loop"] = loop = _closed_loop(config, spec, rows, episodes)
        for name, why in worse(loop).items():
            rows[name]["refused"] = why
            if name in RECIPES:
                prepared.condemn(identity_of(prepared, RECIPES[name], threads), why)
    out = Path(config["out"])
    out.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(report), indent=1)
    (out / "build.json").write_bytes(text)
    return report


def prepared_of(config: Config, spec: WorldSpec) -> Prepared:
    """What engines of System 1 are made of: the network's, or an ONNX file's."""
    if config["system1"]["driver"] == ONNX:
        return prepared_file(config, spec)
    folder, samples = checkpoint_folder(config, spec), config["system1"]["samples"]
    return prepared_system1(folder, spec, samples, opset=config["engine"]["opset"])


def looks(config: Config) -> bool:
    """Whether engines are asked for of a System 2 that runs here."""
    return bool(config["system2"]["name"] == "vlm")


def _system2(config: Config, spec: WorldSpec, progress: Progress) -> dict[str, Any]:
    """Engines of every part of System 2: {engine: {part: its row}}."""
    system2, found = config["system2"], dict[str, dict[str, Any]]()
    planning, opset = load_planning(system2, spec), config["engine"]["opset"]
    parts = prepared_system2(system2, planning, spec, opset)
    for name in config["engine"]["names"]:
        progress(f"{name}, System 2")
        found[name] = {
            part: examined(prepared, name, system2["threads"])[0]
            for part, prepared in parts.items()
        }
    return {"checked_on": parts["reading"].reference.source, "engines": found}


def examined(prepared: Prepared, name: str, threads: int) -> tuple[dict[str, Any], Engine | None]:
    """Build one engine anew and compare it with torch; `refused` says why it is of no use.

    Returned with the engine, None where there is none.
    """
    row: dict[str, Any] = {"refused": None, "precision": None, "built_s": None, "size_bytes": None}
    try:
        if name in RECIPES:
            built(prepared, name, threads)
            manifest = prepared.manifest(identity_of(prepared, RECIPES[name], threads))
            row |= {"built_s": manifest.built_s, "size_bytes": manifest.size_bytes}
        engine = opened(prepared, name, threads, build=False)
    except DualsysError as error:
        return {**row, "refused": str(error)}, None
    found = parity.compare(engine, prepared.reference)
    row |= {"precision": engine.precision, "refused": found.fault(engine.precision)}
    return row | {"outputs": msgspec.to_builtins(found.outputs)}, engine


def by_axis(engine: Engine, prepared: Prepared, spec: WorldSpec) -> dict[str, Any]:
    """The largest error of the command per axis, in its unit."""
    errors = parity.errors_by_axis(engine, prepared.reference, "chunk")
    axes = {
        axis.name: {"error": float(error), "unit": axis.unit, "range": axis.high - axis.low}
        for axis, error in zip(spec.action, errors, strict=True)
    }
    return {"axes": axes}


def _closed_loop(
    config: Config, spec: WorldSpec, rows: dict[str, dict[str, Any]], episodes: Episodes
) -> dict[str, Any]:
    """Drive with every usable engine and with torch, on the same seeds."""
    usable = [name for name, row in rows.items() if row["refused"] is None and name != "torch"]
    suite = SUITES.get(spec.domain) if config["suite"] == "auto" else config["suite"]
    if suite is None:
        raise DualsysError(f"no suite is known for the domain {spec.domain}; give suite=NAME")
    scenarios = list(registry.suite(suite))
    each = -(-EPISODES // len(scenarios))
    seeds = f"0:{each}" if config["seeds"] == "auto" else config["seeds"]
    system1 = config["system1"]
    shared = [*LOOP, *(f"system1.{key}={system1[key]}" for key in ("checkpoint", "samples"))]
    shared.append(f"engine.threads={config['engine']['threads']}")
    table = ["table=engines", f"variants=[{','.join(['torch', *usable])}]"]
    out = Path(config["out"]) / "closed_loop"
    order = Order(
        [f"suite={suite}", f"seeds={seeds}", *table, *shared, f"out={out}"],
        shared,
        load_table("engines", ["torch", *usable]),
        scenarios,
        parse_seeds(seeds),
        out,
        config["workers"],
    )
    total = len(order.scenarios) * len(order.seeds)
    report = bench(order, lambda name, count: episodes(name, count, total))
    if wrong := {name: used for name, used in report["engines"].items() if used != name}:
        raise DualsysError(f"the episodes of {out} ran on other engines: {wrong}; delete it")
    measured = report["measured"]
    group = next(iter(measured["torch"]))  # the pool of all, or the one scenario
    return {
        "suite": suite,
        "seeds": seeds,
        "episodes": total,
        "success": {name: found[group]["success_rate"] for name, found in measured.items()},
        "compared": {name: report["compared"][name][group]["success"] for name in usable},
    }


def worse(loop: dict[str, Any]) -> dict[str, str]:
    """Engines that drive worse than torch, by more than the episodes leave open, and why."""
    return {
        name: f"in {loop['episodes']} paired episodes success is {-found['mean']:.1%} lower than "
        "torch's ({:.1%} .. {:.1%})".format(*found["ci95"])
        for name, found in loop["compared"].items()
        if found["ci95"][1] < 0
    }
