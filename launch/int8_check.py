"""Would eight bits win? `python launch/int8_check.py [SCENARIO] [--out runs/int8.json]`.

Quantises System 1's graph with ONNX Runtime's static quantisation, calibrated on every second
recorded input, and holds the others against torch and against the plain engine: agreement and time
in one run. An engine in eight bits would have to pass half precision's tolerance and be faster.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table

from dualsys.bench import side_by_side
from dualsys.bench.side_by_side import passes
from dualsys.config import load
from dualsys.console import table_console
from dualsys.environment import set_headless_defaults
from dualsys.errors import DualsysError
from dualsys.runtime.assembly import checkpoint_folder
from dualsys.runtime.engines import prepared_system1
from dualsys.runtime.results import git_state, machine, versions
from kernels import parity
from kernels.network import Arrays
from kernels.onnx_engine import OnnxEngine
from kernels.reference import Reference
from kernels.timing import told
from sim import registry

SHARES = {"matrix products": ["MatMul", "Gemm"], "convolutions": ["Conv"], "all": None}
"""What is quantised: operators of the graph, None for all that the library can."""

RANGES = ("MinMax", "Percentile")  # how the range of an activation is found
LIKE = "float16"  # whose tolerance would have to be met


def quantised(graph: bytes, met: Iterable[Arrays], kinds: list[str] | None, ranges: str) -> bytes:
    """The graph with 8-bit weights per channel and 8-bit activations, calibrated on `met`."""
    try:
        import onnx
        from onnxruntime.quantization import (
            CalibrationDataReader,
            CalibrationMethod,
            QuantFormat,
            QuantType,
            quantize_static,
        )
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise DualsysError(f"quantisation needs the extra `onnx` ({error})") from error

    class Met(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(met)

        def get_next(self) -> Arrays | None:
            return next(self.left, None)

    quiet = contextlib.redirect_stdout(io.StringIO())  # it prints of every histogram
    with tempfile.TemporaryDirectory() as folder, quiet:
        before, after = Path(folder) / "graph.onnx", Path(folder) / "int8.onnx"
        # Folds constants, without which weights are not seen to be such and run slower than before.
        quant_pre_process(onnx.load_from_string(graph), before, skip_symbolic_shape=True)
        quantize_static(
            before,
            after,
            Met(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=kinds,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=getattr(CalibrationMethod, ranges),
        )
        return after.read_bytes()


def check(options: argparse.Namespace) -> dict[str, Any]:
    """Agreement and time of every way of quantising, and of the plain engine beside them."""
    config = load("bench-engine", [f"scenario={options.scenario}"])
    spec = registry.spec_of(options.scenario)
    prepared = prepared_system1(checkpoint_folder(config, spec), spec, options.samples)
    whole = prepared.reference
    if not whole.recorded:
        raise DualsysError(
            f"nothing was recorded beside the weights of {options.scenario}, and ranges found on "
            "noise say nothing; record inputs with launch/record_inputs.py"
        )
    held_out = Reference(whole.inputs[1::2], whole.outputs[1::2], recorded=True)
    engines = {"float32": OnnxEngine(prepared.graph)}
    for share, kinds in SHARES.items():
        for ranges in RANGES:
            graph = quantised(prepared.graph, whole.inputs[::2], kinds, ranges)
            engines[f"{share}, {ranges}"] = OnnxEngine(graph)
    times = timed(engines, held_out, options.rounds)
    rows: dict[str, dict[str, Any]] = {}
    for name, engine in engines.items():
        found = parity.compare(engine, held_out)
        outputs = msgspec.to_builtins(found.outputs)
        rows[name] = {"fault": found.fault(LIKE), "outputs": outputs, "pass": times[name]}
    return {
        "scenario": options.scenario,
        "calibrated_on": len(whole.inputs[::2]),
        "compared_on": len(held_out.inputs),
        "tolerance": msgspec.to_builtins(parity.TOLERANCES[LIKE]),
        "engines": rows,
    }


def timed(engines: dict[str, OnnxEngine], met: Reference, rounds: int) -> dict[str, Any]:
    """Every engine's pass, in turns, with one thread."""
    works = {name: passes(engine, met.inputs) for name, engine in engines.items()}
    spans, stalls = side_by_side.timed(works, rounds)
    return {name: told(mine, spans["float32"], stalls) for name, mine in spans.items()}


def show(found: dict[str, Any]) -> None:
    """Print one line per way."""
    table = Table(title=f"eight bits, {found['scenario']}, against torch on held-out inputs")
    for name in ("quantised", "least cosine of the chunk", "p50 [ms]", "times faster", "verdict"):
        table.add_column(name.replace("[", r"\["))
    for name, row in found["engines"].items():
        cosine = f"{row['outputs']['chunk']['cosine']:.5f}"
        times = (f"{row['pass']['p50_ms']:.2f}", f"{row['pass']['times_faster']:.2f}")
        table.add_row(name, cosine, *times, "agrees" if row["fault"] is None else "disagrees")
    table_console().print(table)


def main() -> None:
    """Quantise, compare, time, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", nargs="?", default="driving/merge")
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path("runs/int8.json"))
    options = parser.parse_args()
    set_headless_defaults()
    logging.getLogger().setLevel(logging.ERROR)  # the library warns of every constant it meets
    git = git_state()
    try:
        found = check(options)
    except DualsysError as error:
        parser.exit(2, f"int8_check: {error}\n")
    show(found)
    found |= {"versions": versions(), "machine": machine(), "git": git}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
