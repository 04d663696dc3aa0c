"""Does System 1 leave memory behind? `python launch/steady_check.py [SCENARIO] [--calls 1000000]`.

Counts what Python has allocated after 10,000 ticks that it had not before (tracemalloc), and how
the process' resident memory moves over a million calls of the engine. Exits with 1 above a limit.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np

from dualsys.bench.engine_bench import policy_of, ticks_of
from dualsys.config import load
from dualsys.console import progress_bar, table_console
from dualsys.environment import set_headless_defaults
from dualsys.errors import DualsysError
from dualsys.runtime.assembly import checkpoint_folder
from dualsys.runtime.engines import prepared_system1
from dualsys.runtime.results import git_state, machine, versions
from kernels import parity
from kernels.choose import opened
from kernels.engine import Engine
from kernels.network import Arrays
from sim import registry

TICKS_KIB, RESIDENT_SHARE = 64.0, 0.02  # limits: of Python's growth, of the resident memory's
STATUS = Path("/proc/self/status")


def resident_kib() -> int:
    """The process' resident memory now."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])


def held() -> int:
    """Bytes that Python has allocated now, without those of the progress bar."""
    rest = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, "*/rich/*")])
    return sum(trace.size for trace in rest.traces)


def ticks(work: Any, warm_up: int, count: int, step: Any) -> dict[str, Any]:
    """What Python holds after `count` ticks that it did not hold before."""
    tracemalloc.start()  # before the warm-up: what replaces something older is no growth
    for number in range(warm_up):
        work(number)
    gc.collect()
    before = held()
    for number in range(warm_up, warm_up + count):
        work(number)
        if number % 100 == 0:
            step(100)
    gc.collect()
    after, peak = held(), tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"ticks": count, "growth_kib": (after - before) / 1024, "peak_kib": peak / 1024}


def calls(engine: Engine, inputs: list[Arrays], count: int, step: Any) -> dict[str, Any]:
    """Resident memory over `count` calls; the first tenth is left to caches and pools."""
    each, marks = max(1, count // 100), [resident_kib()]
    begun = time.monotonic()
    cycle = itertools.cycle(inputs)
    for _ in range(100):
        for _ in range(each):
            engine.run(next(cycle))
        marks.append(resident_kib())
        step(each)
    settled = marks[10:]
    slope = float(np.polyfit(np.arange(len(settled)) * each, settled, 1)[0])
    return {
        "calls": 100 * each,
        "elapsed_s": time.monotonic() - begun,
        "resident_kib": marks,
        "growth_kib": settled[-1] - settled[0],
        "growth_share": (settled[-1] - settled[0]) / settled[0],
        "kib_per_million_calls": 1e6 * slope,
    }


def check(options: argparse.Namespace) -> dict[str, Any]:
    """Both counts of one engine."""
    config = load("bench-engine", [f"scenario={options.scenario}"])
    spec = registry.spec_of(options.scenario)
    prepared = prepared_system1(checkpoint_folder(config, spec), spec, options.samples)
    engine = opened(prepared, options.engine, 1, build=True)
    fault = parity.compare(engine, prepared.reference).fault(engine.precision)
    if fault is not None:
        raise DualsysError(f"engine {options.engine}: {fault}")
    inputs = prepared.reference.inputs
    policy = policy_of(config, spec, engine, options.samples)
    with progress_bar() as bar:
        first = bar.add_task("ticks", total=options.ticks, note="")
        second = bar.add_task("calls", total=options.calls, note="")
        found = {
            "scenario": options.scenario,
            "engine": options.engine,
            "samples": options.samples,
            "ticks": ticks(
                ticks_of(policy, inputs), 1_000, options.ticks, lambda n: bar.advance(first, n)
            ),
            "calls": calls(engine, inputs, options.calls, lambda n: bar.advance(second, n)),
        }
    return found


def main() -> None:
    """Count, print, write, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", nargs="?", default="driving/merge")
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--ticks", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=Path("runs/steady.json"))
    options = parser.parse_args()
    set_headless_defaults()
    git = git_state()
    try:
        found = check(options)
    except DualsysError as error:
        parser.exit(2, f"steady_check: {error}\n")
    found |= {"versions": versions(), "machine": machine(), "git": git}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1))
    grown, moved = found["ticks"]["growth_kib"], found["calls"]["growth_share"]
    table_console().print(
        f"Python holds {grown:.1f} KiB more after {found['ticks']['ticks']} ticks (at most "
        f"{TICKS_KIB:g}); resident memory moved by {moved:+.2%} over {found['calls']['calls']} "
        f"calls (at most {RESIDENT_SHARE:.0%}); written to {options.out}",
        highlight=False,
        soft_wrap=True,
    )
    parser.exit(0 if grown <= TICKS_KIB and moved <= RESIDENT_SHARE else 1)


if __name__ == "__main__":
    main()
