"""How long System 2 takes: `python launch/think_time.py [--checkpoint DIR] SCENARIO ...`.

Times of the first guidance and of the whole thought under every budget, the candidate head with N
candidates against one (interleaved in one run), and the memory of the process.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

from dualsys.clock import MonotonicClock, StallDetector
from dualsys.config import load
from dualsys.console import table_console
from dualsys.environment import set_headless_defaults
from dualsys.errors import DualsysError
from dualsys.messages import PlanRequest
from dualsys.runtime import planners
from dualsys.runtime.probe import requests_of
from dualsys.runtime.results import git_state, machine, percentiles_ms, versions
from dualsys.system2.questions import BUDGETS
from dualsys.system2.vision import VisionPlanner

# Everything that a thought can hold; the choice takes no time, and "value" would need values.
WHOLE = ("system2.candidates=5", "system2.send_code=true", "system2.choice=first")


def thoughts_ns(
    planner: VisionPlanner, requests: list[PlanRequest], budget: str
) -> tuple[list[int], list[int]]:
    """Times [ns] to the first guidance and to the last one."""
    first, whole = [], []
    for request in requests:
        start = time.perf_counter_ns()
        times = [time.perf_counter_ns() - start for _ in planner.think(request, budget)]
        first.append(times[0])
        whole.append(times[-1])
    return first, whole


def ladder_ns(planner: VisionPlanner, counts: tuple[int, int], rounds: int) -> dict[int, list[int]]:
    """Times [ns] of proposing `counts` candidates with their values, one after the other."""
    heads = planner.planning.heads
    sizes = heads.config
    tokens = torch.randn(1, sizes.read_tokens + 2, sizes.width)
    noise = torch.randn(1, sizes.knots, sizes.action_size)
    found: dict[int, list[int]] = {count: [] for count in counts}
    with torch.inference_mode():
        for _ in range(rounds):
            for count in counts:
                start = time.perf_counter_ns()
                heads.value(tokens, heads.candidates.ladder(noise, tokens, count))
                found[count].append(time.perf_counter_ns() - start)
    return found


def measure(scenario: str, overrides: list[str], thoughts: int, rounds: int) -> dict[str, Any]:
    """Everything about the planner of one scenario."""
    from sim import registry

    config = load("eval", [f"scenario={scenario}", "system2=vlm", *WHOLE, *overrides])
    planner = planners.make_planner(config, registry.spec_of(scenario), {})
    assert isinstance(planner, VisionPlanner)
    requests = requests_of(scenario, thoughts)
    thoughts_ns(planner, requests[:5], "full")  # warm-up
    report: dict[str, Any] = {}
    for budget in BUDGETS:
        first, whole = thoughts_ns(planner, requests, budget)
        report[budget] = {"first": percentiles_ms(first), "whole": percentiles_ms(whole)}
    ladder = ladder_ns(planner, (1, 5), rounds)
    one, five = (float(np.median(ladder[count])) for count in (1, 5))
    report["candidates"] = {"one_ms": one / 1e6, "five_ms": five / 1e6, "ratio": five / one}
    report["memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return report


def show(reports: dict[str, dict[str, Any]]) -> None:
    """Print one row per scenario and budget."""
    table = Table(title="System 2, milliseconds")
    for name in ("scenario", "budget", "first p50", "first p99", "whole p50", "whole p99"):
        table.add_column(name, justify="left" if name in ("scenario", "budget") else "right")
    for scenario, report in reports.items():
        for budget in BUDGETS:
            row = report[budget]
            cells = (f"{row[s][p]:.0f}" for s in ("first", "whole") for p in ("p50_ms", "p99_ms"))
            table.add_row(scenario, budget, *cells)
    console = table_console()
    console.print(table)
    for scenario, report in reports.items():
        cost = report["candidates"]
        console.print(
            f"{scenario}: five candidates {cost['five_ms']:.1f} ms, one {cost['one_ms']:.1f} ms, "
            f"ratio {cost['ratio']:.2f}; process {report['memory_mib']:.0f} MiB at most"
        )


def main() -> None:
    """Measure, print, write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="+")
    parser.add_argument("--checkpoint", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--thoughts", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("runs/think_time.json"))
    options = parser.parse_args()
    set_headless_defaults()
    git = git_state()
    overrides = [f"system2.checkpoint={options.checkpoint}", f"system2.threads={options.threads}"]
    reports = {}
    detector = StallDetector(MonotonicClock())
    detector.start()
    try:
        for scenario in options.scenarios:
            reports[scenario] = measure(scenario, overrides, options.thoughts, options.rounds)
    except DualsysError as error:
        parser.exit(2, f"think_time: {error}\n")
    stalls = len(detector.stop())
    show(reports)
    table_console().print(f"machine stalls meanwhile: {stalls}")
    report = {"scenarios": reports, "threads": options.threads, "stalls": stalls}
    report |= {"versions": versions(), "machine": machine(), "git": git}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
