"""Would it pay to reuse picture features between passes? `python launch/reuse_check.py CHECKPOINT`.

Drives the scenarios of the suites and keeps what every pass was asked. Then: which share of a pass
its picture encoders take; how much the pictures change from pass to pass; and, for thresholds on
that change, how many passes could do with the features of pictures encoded before and how far their
chunks would be off. Beside stands what is off anyhow: the flow for its few steps, and half
precision. A chunk's error is the root mean square in standard deviations of the action.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor, nn

from dualsys.bench.depth_bench import TRUE_STEPS, chunks, off
from dualsys.bench.rig import rig
from dualsys.bench.side_by_side import passes, timed, usable
from dualsys.config import load, parse_seeds
from dualsys.console import percent, progress_bar, table_console
from dualsys.environment import cache_folder, set_headless_defaults
from dualsys.errors import DualsysError
from dualsys.runtime.engines import prepared_system1
from dualsys.runtime.results import git_state, machine, versions
from dualsys.system1 import checkpoint
from dualsys.system1.depth import Depth, Effort
from dualsys.system1.parts import parts, preprocessing_inputs, step_inputs
from dualsys.system1.sampler import IMAGE, Sampler
from dualsys.system1.stepped import SteppedEngine
from kernels.cache import Prepared
from kernels.half import halved
from kernels.network import Arrays, Network
from kernels.onnx_engine import CPU, OnnxEngine
from kernels.reference import RecordingEngine
from kernels.timing import told
from kernels.torch_engine import TorchEngine
from sim import registry

THRESHOLDS = (0.0, 3e-4, 1e-3, 2e-3, 3e-3, 5e-3, 1e-2, 2e-2, 5e-2)  # shares of full brightness
TIMED = 50  # of the inputs, evenly apart, and for the errors that are there anyhow
Drive = list[Arrays]


class Pictures(nn.Module):
    """The picture encoders alone."""

    def __init__(self, sampler: Sampler) -> None:
        super().__init__()
        self.sampler = sampler

    def forward(self, **images: Tensor) -> dict[str, Tensor]:
        """uint8 (1, H, W, C) each -> keypoints (1, 2 K) and tokens (1, G * G, D) of each camera."""
        found, network = {}, self.sampler.network
        for encoder, camera in zip(network.encoders, network.config.cameras, strict=True):
            found[f"points_{camera[0]}"], found[f"grid_{camera[0]}"] = encoder(
                images[IMAGE + camera[0]]
            )
        return found


def drive(scenario: str, seed: int, words: list[str]) -> Drive:
    """What every pass of one drive was asked, one after the other."""
    recording: list[RecordingEngine] = []

    def watch(engine: Any) -> RecordingEngine:
        recording.append(RecordingEngine(engine))
        return recording[0]

    with rig(load("eval", [f"scenario={scenario}", *words]), scenario, watch) as driven:
        recording[0].asked.clear()  # those of the warm-up
        driven.run(0, seed)
    return recording[0].asked


def change(now: Arrays, then: Arrays) -> float:
    """Mean absolute difference of all pictures, as a share of full brightness."""
    names = [name for name in now if name.startswith(IMAGE)]
    each = [np.abs(now[n].astype(np.int16) - then[n]).mean() / 255 for n in names]
    return float(np.mean(each))


def held(asked: Drive, threshold: float) -> list[int]:
    """For every pass, the pass whose picture features it would use: that one, or one before."""
    kept: list[int] = []
    for number, arrays in enumerate(asked):
        last = kept[-1] if kept else number
        kept.append(last if change(arrays, asked[last]) <= threshold else number)
    return kept


def reused(engine: TorchEngine, asked: Drive, own: np.ndarray, kept: list[int]) -> np.ndarray:
    """Chunks (N, T, A) with held features: those of other pictures with this pass' own numbers."""
    found = own.copy()
    for number, source in enumerate(kept):
        if source != number:
            pictures = {n: a for n, a in asked[source].items() if n.startswith(IMAGE)}
            found[number] = engine.run({**asked[number], **pictures})["chunk"][0]
    return found


def by_threshold(engine: TorchEngine, drives: list[Drive], std: np.ndarray) -> list[dict[str, Any]]:
    """Per threshold: share of passes that reuse, and how far their chunks are off."""
    own = [chunks(engine, asked) for asked in drives]
    rows = []
    for threshold in THRESHOLDS:
        inputs, found, wanted, total = list[Arrays](), [], [], 0
        for asked, right in zip(drives, own, strict=True):
            kept = held(asked, threshold)
            places = [number for number, source in enumerate(kept) if source != number]
            found.append(reused(engine, asked, right, kept)[places])
            wanted.append(right[places])
            inputs += [asked[number] for number in places]
            total += len(asked)
        row: dict[str, Any] = {"threshold": threshold, "reused": len(inputs) / total}
        if inputs:
            row["error"] = off(np.concatenate(found), np.concatenate(wanted), inputs, std)
        rows.append(row)
    return rows


def anyhow(sampler: Sampler, folder: Path, spec: Any, inputs: Drive) -> dict[str, Any]:
    """How far chunks are off for their few steps, and for products in half precision."""
    encoder_module, specs, step_module = parts(sampler)
    encoder, config = TorchEngine(encoder_module, specs), sampler.network.config
    step = TorchEngine(step_module, step_inputs(encoder.outputs))
    depth = Depth("fixed", (Effort(TRUE_STEPS, config.layers),))
    true = SteppedEngine(encoder, {config.layers: step}, depth, 1)
    own, std = chunks(TorchEngine(sampler, specs), inputs), sampler.get_buffer("action_std").numpy()
    half = OnnxEngine(halved(prepared_system1(folder, spec, 1).graph, "float16"), 1, CPU)
    return {
        f"{config.flow_steps} steps, not {TRUE_STEPS}": off(own, chunks(true, inputs), inputs, std),
        "products in float16": off(chunks(half, inputs), own, inputs, std),
    }


def times(
    sampler: Sampler, folder: Path, spec: Any, inputs: Drive, names: list[str], rounds: int
) -> dict[str, Any]:
    """Of every engine, the pass and its picture encoders, in turns within one run."""
    pictures = [{n: a for n, a in arrays.items() if n.startswith(IMAGE)} for arrays in inputs]
    identity = {**prepared_system1(folder, spec, 1, "encode").network.identity, "part": "pictures"}
    network = Network(
        identity, lambda: (Pictures(sampler), preprocessing_inputs(sampler)), lambda: pictures
    )
    alone, refused = usable(Prepared(cache_folder() / "engines", network), names, 1)
    whole, why = usable(prepared_system1(folder, spec, 1), names, 1)
    both = [name for name in whole if name in alone]
    works = {f"{name} pass": passes(whole[name], inputs) for name in both}
    works |= {f"{name} pictures": passes(alone[name], pictures) for name in both}
    spans, met = timed(works, rounds)
    rows: dict[str, Any] = {}
    for name in both:
        row = {what: told(spans[f"{name} {what}"], spans[f"{name} pass"], met)
               for what in ("pass", "pictures")}  # fmt: skip
        rows[name] = row | {"share": 1 / row["pictures"]["times_faster"]}
    return {"engines": rows, "refused": {**refused, **why}, "stalls": len(met)}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Drive, and measure on what was met."""
    folder = options.checkpoint
    names = options.scenarios or [n for suite in options.suites for n in registry.suite(suite)]
    words = [f"system1.checkpoint={folder}", f"runtime.episode_s={options.episode_s}",
             *options.words]  # fmt: skip
    jobs = [(name, seed) for name in names for seed in parse_seeds(options.seeds)]
    drives = []
    with progress_bar() as bar:
        task = bar.add_task("drives", total=len(jobs), note="")
        for name, seed in jobs:
            drives.append(drive(name, seed, words))
            bar.update(task, advance=1, note=name)
    sampler, card = checkpoint.load(folder)
    engine = TorchEngine(sampler, prepared_system1(folder, card.spec, 1).reference.specs)
    changes = [change(b, a) for asked in drives for a, b in itertools.pairwise(asked)]
    met = [arrays for asked in drives for arrays in asked]
    few = [met[place] for place in np.linspace(0, len(met) - 1, TIMED).round().astype(int)]
    return {
        "schema": "dualsys-reuse/1",
        "checkpoint": str(folder),
        "scenarios": names,
        "seeds": parse_seeds(options.seeds),
        "words": words,
        "passes": len(met),
        "change": {f"p{q}": float(np.percentile(changes, q)) for q in (1, 10, 25, 50, 75, 90, 99)},
        "thresholds": by_threshold(engine, drives, sampler.get_buffer("action_std").numpy()),
        "anyhow": anyhow(sampler, folder, card.spec, few),
        "times": times(sampler, folder, card.spec, few, options.engines, options.rounds)
        if options.rounds
        else None,
    }


def show(report: dict[str, Any]) -> None:
    """Print the tables."""
    console = table_console()
    told = ", ".join(f"{name} {value:.4f}" for name, value in report["change"].items())
    console.print(f"{report['passes']} passes; change from one to the next: {told}")
    table = Table(title="picture features reused where the pictures changed no more than that")
    for name in ("threshold", "passes that reuse", "error", "median", "worst"):
        table.add_column(name, justify="right")
    for row in report["thresholds"]:
        error = row.get("error")
        cells = [f"{value:.4f}" for value in error.values()] if error else []
        table.add_row(f"{row['threshold']:g}", percent(row["reused"]), *cells)
    for name, error in report["anyhow"].items():
        table.add_row(name, "", *(f"{value:.4f}" for value in error.values()))
    console.print(table)
    for name, row in (report["times"] or {"engines": {}})["engines"].items():
        whole, alone = row["pass"]["p50_ms"], row["pictures"]["p50_ms"]
        share = percent(row["share"])
        console.print(f"{name}: pass {whole:.2f} ms, its pictures {alone:.2f} ms, {share}")


def main() -> None:
    """Measure, print, write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--suites", nargs="+")
    wanted.add_argument("--scenarios", nargs="+")
    parser.add_argument("--seeds", default=f"{registry.FIRST_TRAINING_SEED}")
    parser.add_argument("--episode-s", type=float, default=10.0, help="at most, of each drive")
    parser.add_argument("--engines", nargs="+", default=["onnxruntime", "openvino"])
    parser.add_argument("--rounds", type=int, default=1000, help="of the times; 0: leave them out")
    parser.add_argument("--out", type=Path, default=Path("runs/reuse.json"))
    parser.add_argument("words", nargs="*", help="further words of `dualsys eval`")
    options = parser.parse_intermixed_args()
    set_headless_defaults()
    git = git_state()
    torch.set_num_threads(1)
    try:
        report = measure(options)
    except DualsysError as error:
        parser.exit(2, f"reuse_check: {error}\n")
    report |= {"versions": versions(), "machine": machine(), "git": git}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1))
    show(report)


if __name__ == "__main__":
    main()
