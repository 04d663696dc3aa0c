"""Engines and kernels on a GPU, within ten minutes: `launch/gpu_check.sh [--out DIR]`.

Installs nothing; needs torch, Triton and this repository, and takes TensorRT, ONNX Runtime and
transformers where they are. Builds the engines of the shipped policies, compares them with torch
on recorded inputs, times them, the kernels and planners of published sizes, and writes one results
file and a table. What can not run here is told with the reason, and nothing is made up for it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
from rich.table import Table

from dualsys.bench.planner_bench import bench_planner
from dualsys.bench.side_by_side import passes, timed
from dualsys.console import table_console
from dualsys.environment import cache_folder
from dualsys.errors import DualsysError
from dualsys.runtime.results import git_state, machine, versions
from dualsys.spec import WorldSpec
from dualsys.system1 import checkpoint
from dualsys.system1.compiled import network_of
from dualsys.system2.published import PUBLISHED
from kernels import hardware, parity
from kernels.cache import Prepared
from kernels.choose import built, opened
from kernels.fused.measured import measured
from kernels.registry import RECIPES
from kernels.timing import Work, told

WEIGHTS = Path(__file__).parent.parent / "dualsys" / "weights"
ENGINES = ("torch-cuda", "torch-cuda-graph", "torch-fused", "tensorrt-fp16", "tensorrt",
           "tensorrt-tf32", "tensorrt-bf16", "onnxruntime-cuda",
           "onnxruntime-tensorrt")  # fmt: skip
ON_PROCESSORS = ("torch", "onnxruntime")
SAMPLES = (1, 5)  # N candidates: System 1's flows over one encoding
Report = dict[str, Any]


def policies(options: argparse.Namespace) -> Report:
    """Every engine of the shipped policies, beside torch run eagerly on the same device."""
    found: Report = {}
    names = ON_PROCESSORS if options.rehearse else ENGINES
    for domain in options.domains:
        folder = WEIGHTS / domain
        spec = checkpoint.load_card(folder).spec
        for samples in SAMPLES:
            prepared = Prepared(cache_folder() / "engines", network_of(folder, spec, samples))
            found[f"{domain}, {samples} sample(s)"] = _engines(prepared, names, options.rounds)
    return found


def _engines(prepared: Prepared, names: tuple[str, ...], rounds: int) -> Report:
    engines, refused, agreement = {}, {}, {}
    for name in names:
        try:
            if name in RECIPES and not RECIPES[name].quick:
                built(prepared, name, 1)
            engine = opened(prepared, name, 1, build=True)
        except (DualsysError, RuntimeError) as error:
            refused[name] = str(error).splitlines()[0]
            continue
        compared = parity.compare(engine, prepared.reference)
        agreement[name] = msgspec.to_builtins(compared.outputs)
        fault = compared.fault(engine.precision)
        if fault is None:
            engines[name] = engine
        else:
            refused[name] = fault
    if names[0] not in engines:
        return {"refused": refused, "agreement": agreement, "times": {}}
    inputs = prepared.reference.inputs
    works = {name: passes(engine, inputs) for name, engine in engines.items()}
    stages = {
        name: engine.stages_ms() for name, engine in engines.items() if hasattr(engine, "stages_ms")
    }
    return {
        "inputs": prepared.reference.source,
        "refused": refused,
        "agreement": agreement,
        "stages": stages,
        "times": _timed(works, rounds, names[0]),
    }


def _timed(works: dict[str, Work], rounds: int, against: str) -> Report:
    # A sweep through the host's caches leaves a GPU's alone, and would take most of ten minutes.
    spans, met = timed(works, rounds, caches="warm")
    return {name: told(mine, spans[against], met) for name, mine in spans.items()}


def kernels_on_gpu(options: argparse.Namespace) -> Report:
    """Each hand-written kernel, its floor and its distance from it."""
    _need_gpu(options)
    sampler, _ = checkpoint.load(WEIGHTS / "driving", None, 1)
    return measured(sampler.network, SAMPLES)


def planners(options: argparse.Namespace) -> Report:
    """Planners of published sizes, eager and in the modes that are asked for."""
    _need_gpu(options)
    spec: WorldSpec = checkpoint.load_card(WEIGHTS / "driving").spec
    config = {
        "planner_device": "cuda",
        "planner_modes": options.planner_modes,
        "planner_rounds": 30,
        "prompt_words": 100,
    }
    found: Report = {}
    for name in PUBLISHED:
        if time.monotonic() > options.end:
            found[name] = {"refused": "no time was left"}
            continue
        try:
            found[name] = bench_planner(name, config, spec, lambda what, rounds: None)
        except (DualsysError, RuntimeError) as error:
            found[name] = {"refused": str(error).splitlines()[0]}
        torch.cuda.empty_cache()
    return found


def _need_gpu(options: argparse.Namespace) -> None:
    if options.rehearse or not torch.cuda.is_available():
        raise DualsysError("needs a GPU that torch sees")


STEPS: dict[str, Callable[[argparse.Namespace], Report]] = {
    "policies": policies,
    "kernels": kernels_on_gpu,
    "planners": planners,
}


def show(report: Report) -> None:
    """Print what was measured, one line each."""
    table = Table(title=f"measured on {report['gpu'].get('gpu', 'a processor')}")
    for name in ("what", "which", "p50 [ms]", "p99 [ms]", "times faster"):
        table.add_column(name.replace("[", r"\["), justify="right" if "ms" in name else "left")
    for what, found in report.get("policies", {}).items():
        for name, row in found.get("times", {}).items():
            cells = (f"{row[key]:.3f}" for key in ("p50_ms", "p99_ms"))
            table.add_row(what, name, *cells, f"{row['times_faster']:.2f}")
    for name, row in report.get("kernels", {}).items():
        if "over_floor" in row:
            p50, over = f"{row['measured_us'] / 1e3:.4f}", f"{row['over_floor']:.1f} x floor"
            table.add_row(name, over, p50, "", f"{row['times_faster']:.2f}")
    for name, found in report.get("planners", {}).items():
        for stage, modes in found.get("stages", {}).items() if isinstance(found, dict) else ():
            for mode, row in modes.items():
                cells = (f"{row[key]:.2f}" for key in ("p50_ms", "p99_ms"))
                table.add_row(f"{name}, {stage}", mode, *cells, f"{row['times_faster']:.2f}")
    table_console().print(table)


def main() -> None:
    """Run step after step; what is measured is written after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu_check"))
    parser.add_argument("--seconds", type=float, default=560.0, help="no step begins later")
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--domains", nargs="+", default=["driving", "manipulation"])
    modes = ["compiled", "cuda-graph"]  # and, where there is the time to build it, tensorrt-fp16
    parser.add_argument("--planner-modes", nargs="+", default=modes)
    parser.add_argument("--rehearse", action="store_true", help="on a processor, to try the script")
    options = parser.parse_args()
    options.end = time.monotonic() + options.seconds
    if not options.rehearse and not torch.cuda.is_available():
        parser.exit(2, "gpu_check: torch sees no GPU here; --rehearse tries the script without\n")
    options.out.mkdir(parents=True, exist_ok=True)
    report: Report = {
        "schema": "dualsys-gpu/1",
        "gpu": {} if options.rehearse else hardware.gpu(),
        "versions": versions(),
        "machine": machine(),
        "git": git_state(),
        "not_measured": {},
        "seconds": {},
    }
    for name, step in STEPS.items():
        begun = time.monotonic()
        if begun > options.end:
            report["not_measured"][name] = "no time was left"
        else:
            try:
                report[name] = step(options)
            except (DualsysError, RuntimeError, ImportError) as error:
                report["not_measured"][name] = str(error).splitlines()[0]
        report["seconds"][name] = time.monotonic() - begun
        text = msgspec.json.format(msgspec.json.encode(report), indent=1)
        (options.out / "gpu.json").write_bytes(text)
    show(report)
    for name, why in report["not_measured"].items():
        table_console().print(f"{name}: not measured, {why}", markup=False, soft_wrap=True)
    table_console().print(f"written to {options.out / 'gpu.json'}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
