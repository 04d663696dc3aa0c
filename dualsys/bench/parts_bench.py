"""How long the parts of System 2 take, engine beside engine; the rest of a thought is torch's."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from dualsys.bench.building import looks
from dualsys.bench.side_by_side import REFERENCE, Progress, passes, timed, usable
from dualsys.runtime.planner_engines import prepared_system2
from dualsys.runtime.planners import load_planning
from dualsys.spec import WorldSpec
from kernels.engine import Engine
from kernels.timing import told

Config = dict[str, Any]


def bench_parts(config: Config, spec: WorldSpec, progress: Progress) -> list[dict[str, Any]]:
    """One table for each number of threads; nothing without a System 2 that runs here."""
    if not looks(config):
        return []
    planning, opset = load_planning(config["system2"], spec), config["engine"]["opset"]
    parts = prepared_system2(config["system2"], planning, spec, opset)
    tables, rounds = [], config["planner_rounds"]
    for threads in config["threads"]:
        torch.set_num_threads(threads)
        engines: dict[str, dict[str, Engine]] = {}
        refused: dict[str, str] = {}
        for part, prepared in parts.items():
            engines[part], why = usable(prepared, config["engine"]["names"], threads)
            refused |= {name: f"{part}: {reason}" for name, reason in why.items()}
        precision = {n: e.precision for n, e in engines["reading"].items() if n not in refused}
        rows: dict[str, dict[str, Any]] = {name: {} for name in precision}
        stalls: list[tuple[int, int]] = []
        for part, prepared in parts.items():
            inputs = prepared.reference.inputs
            works = {name: passes(engines[part][name], inputs) for name in precision}
            label = f"{part}, {threads} thread(s)"
            step = partial(progress, label, rounds + 1)
            spans, met = timed(works, rounds, 1, step, config["caches"])
            stalls += met
            for name, mine in spans.items():
                rows[name][part] = told(mine, spans[REFERENCE], met)
        tables.append(
            {
                "threads": threads,
                "samples": config["system2"]["candidates"],
                "inputs": parts["reading"].reference.source,
                "precision": precision,
                "refused": refused,
                "engines": rows,
                "stalls": len(stalls),
                "longest_stall_ms": max((b - a for a, b in stalls), default=0) / 1e6,
            }
        )
    return tables
