"""`dualsys bench-engine depth=true`: how far a chunk is off, against how long its pass takes.

Every effort (steps x blocks) of every engine, in turns within one run, on the inputs that stand
recorded beside the weights. A chunk is compared with torch's: of ten steps through all blocks, and
of the network's own pass; in standard deviations of the action, where it is not committed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dualsys.bench.engine_bench import check, write
from dualsys.bench.side_by_side import REFERENCE, Config, Progress, passes, tables, timed, usable
from dualsys.errors import DualsysError
from dualsys.runtime.assembly import checkpoint_folder
from dualsys.runtime.engines import prepared_system1
from dualsys.runtime.results import git_state, machine, versions
from dualsys.spec import WorldSpec
from dualsys.system1 import checkpoint
from dualsys.system1.depth import OWN, Depth, Effort
from dualsys.system1.stepped import SteppedEngine
from kernels.cache import Prepared
from kernels.engine import Engine
from kernels.network import Arrays
from kernels.timing import told
from sim import registry

TRUE_STEPS = 10  # of the flow that is taken for the true one


def bench_depth(config: Config, progress: Progress) -> dict[str, Any]:
    """Time and compare all efforts; returns what depth.json holds."""
    check(config)
    spec, git = registry.spec_of(config["scenario"]), git_state()
    report = {
        "schema": "dualsys-depth/1",
        "scenario": config["scenario"],
        "rounds": config["rounds"],
        "warm_up": config["warm_up"],
        "caches": config["caches"],
        "noise_scale": config["system1"]["noise_scale"],
        "true_steps": TRUE_STEPS,
        "tables": tables(config, partial(_table, config, spec, progress)),
        "versions": versions(),
        "machine": machine(),
        "git": git,
    }
    write(report, Path(config["out"]) / "depth.json")
    return report


def efforts_of(folder: Path, steps: list[int]) -> tuple[list[Effort], int, str | None]:
    """Efforts that a checkpoint knows, the number of its blocks, and why none leaves early."""
    from dualsys.system1 import exits

    layers, why = checkpoint.load_card(folder).network.layers, None
    try:
        found, _ = exits.load(folder, checkpoint.digest_of(folder / checkpoint.WEIGHTS))
        known = [early.layers for early in found]
    except DualsysError as error:
        known, why = [], str(error)
    return [Effort(count, n) for n in (*known, layers) for count in steps], layers, why


def _table(
    config: Config, spec: WorldSpec, progress: Progress, threads: int, samples: int
) -> dict[str, Any]:
    folder = checkpoint_folder(config, spec)
    efforts, layers, why = efforts_of(folder, config["system1"]["depth_steps"])
    opset = config["engine"]["opset"]
    parts = partial(prepared_system1, folder, spec, samples, opset=opset)
    engines, refused = _engines(config, parts, efforts, threads, samples)
    reference = parts().reference
    inputs = as_in_runs(reference.inputs, config["system1"]["noise_scale"])
    std = checkpoint.load(folder)[0].get_buffer("action_std").numpy()
    true = SteppedEngine(
        *_parts(parts, threads, REFERENCE, [layers]),
        Depth("fixed", (Effort(TRUE_STEPS, layers),)),
        samples,
    )
    wanted = {"true": chunks(true, inputs), OWN: chunks(engines[REFERENCE][OWN], inputs)}
    flat = {(name, told): e for name, rows in engines.items() for told, e in rows.items()}
    works = {f"{name} {told}": passes(engine, inputs) for (name, told), engine in flat.items()}
    label = f"{threads} thread(s), {samples} sample(s)"
    rounds, warm_up = config["rounds"], config["warm_up"]
    step = partial(progress, label, rounds + warm_up)
    spans, met = timed(works, rounds, warm_up, step, config["caches"])
    rows: dict[str, dict[str, Any]] = {name: {} for name in engines}
    for (name, effort), engine in flat.items():
        found = chunks(engine, inputs)
        rows[name][effort] = {
            "pass": told(spans[f"{name} {effort}"], spans[f"{name} {OWN}"], met),
            **{f"to_{what}": off(found, than, inputs, std) for what, than in wanted.items()},
        }
    return {
        "threads": threads,
        "samples": samples,
        "inputs": reference.source,
        "layers": layers,
        "no_exits": why,
        "refused": refused,
        "engines": rows,
        "stalls": len(met),
        "longest_stall_ms": max((b - a for a, b in met), default=0) / 1e6,
    }


def _engines(
    config: Config,
    parts: Callable[..., Prepared],
    efforts: list[Effort],
    threads: int,
    samples: int,
) -> tuple[dict[str, dict[str, Engine]], dict[str, str]]:
    """By name, the engine of the own pass and of every effort; and why others are left."""
    found, refused = usable(parts(), config["engine"]["names"], threads)
    engines: dict[str, dict[str, Engine]] = {}
    layers = sorted({effort.layers for effort in efforts})
    for name, own in found.items():
        try:
            encoder, flows = _parts(parts, threads, name, layers)
        except DualsysError as error:
            refused[name] = str(error)
            continue
        engines[name] = {OWN: own}
        for effort in efforts:
            depth = Depth("fixed", (effort,))
            engines[name][str(effort)] = SteppedEngine(encoder, flows, depth, samples)
    return engines, refused


def _parts(
    parts: Callable[..., Prepared], threads: int, name: str, layers: list[int]
) -> tuple[Engine, dict[int, Engine]]:
    """One engine's encoder and steps. Raises `DualsysError` where one does not agree with torch."""
    made = []
    for part in (parts("encode"), *(parts("flow", number) for number in layers)):
        found, refused = usable(part, [name], threads)
        if name not in found:
            raise DualsysError(refused[name])
        made.append(found[name])
    return made[0], dict(zip(layers, made[1:], strict=True))


def as_in_runs(inputs: list[Arrays], noise_scale: float) -> list[Arrays]:
    """The inputs with the noise that a run would draw: of the first chunk, scaled."""
    found = [dict(arrays) for arrays in inputs]
    for arrays in found:
        arrays["noise"] = arrays["noise"].copy()
        arrays["noise"][0] *= noise_scale
    return found


def chunks(engine: Engine, inputs: list[Arrays]) -> np.ndarray:
    """What it answers (N, T, A), in the actions' own units."""
    return np.stack([engine.run(arrays)["chunk"][0].copy() for arrays in inputs])


def off(
    found: np.ndarray, wanted: np.ndarray, inputs: list[Arrays], std: np.ndarray
) -> dict[str, float]:
    """Root mean square of the difference of chunks (N, T, A): over all, of the middle one, worst.

    A few hard moments make most of the first.
    """
    ticks = [float(arrays["committed_ticks"].item()) if "committed_ticks" in arrays else 0.0
             for arrays in inputs]  # fmt: skip
    free = np.arange(found.shape[1]) >= np.array(ticks)[:, None]
    square = np.square((found - wanted) / std, dtype=np.float64).mean(-1)
    each = (square * free).sum(1) / free.sum(1)
    squares = {"rms": each.mean(), "median": np.median(each), "worst": each.max()}
    return {name: float(np.sqrt(value)) for name, value in squares.items()}


def draw(report: dict[str, Any], file: Path) -> None:
    """Error against time, a line per engine and number of blocks, one panel per table."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tables = report["tables"]
    figure = Figure(figsize=(6 * len(tables), 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, table in zip(figure.subplots(1, len(tables), squeeze=False)[0], tables, strict=True):
        for number, (name, rows) in enumerate(table["engines"].items()):
            for line, places in _lines(rows).items():
                dash = ("-", "--", ":")[(table["layers"] - line) % 3]
                times, errors, names = zip(*places, strict=True)
                label = f"{name}, {line} block(s)"
                axes.plot(times, errors, f"C{number}o{dash}", label=label, markersize=4)
                for time, error, effort in zip(times, errors, names, strict=True):
                    axes.annotate(effort, (time, error), fontsize=6)
            if error := rows[OWN]["to_true"]["rms"]:
                axes.plot(rows[OWN]["pass"]["p50_ms"], error, f"C{number}*", markersize=11)
        axes.set_xlabel("pass, p50 [ms] (star: the network's own, in one graph)")
        axes.set_ylabel(f"chunk to that of {report['true_steps']} steps [std of the action]")
        axes.set_title(f"{table['threads']} thread(s), {table['samples']} sample(s)")
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=7)
    unfinished = file.with_suffix(".partial")
    figure.savefig(unfinished, format="png", dpi=100)
    unfinished.replace(file)


def _lines(rows: Mapping[str, Any]) -> dict[int, list[tuple[float, float, str]]]:
    """By the number of blocks, time [ms], error and effort."""
    lines: dict[int, list[tuple[float, float, str]]] = {}
    for effort, row in rows.items():
        if effort != OWN:
            place = (row["pass"]["p50_ms"], row["to_true"]["rms"], effort)
            lines.setdefault(int(effort.partition("x")[2]), []).append(place)
    return lines
