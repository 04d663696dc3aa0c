"""System 2 interrupted at random: `python launch/interrupt_check.py SCENARIO [--requests 1000]`.

System 2's own process is asked over its own link; a newer request comes at a random moment, often
in the middle of a thought. Checks that every guidance that arrives is valid, was asked for, comes
after no newer one, and equals what an undisturbed planner says to the very request it names.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dualsys.bench.contents import contents
from dualsys.bus import RequestClient, ipc
from dualsys.config import load
from dualsys.conformity import guidance_fault
from dualsys.console import progress_bar, table_console
from dualsys.environment import set_headless_defaults
from dualsys.errors import DualsysError
from dualsys.messages import Guidance, PlanRequest
from dualsys.runtime import planners
from dualsys.runtime.nodes.common import Run
from dualsys.runtime.probe import requests_of
from dualsys.runtime.results import git_state, machine, versions
from dualsys.spec import WorldSpec

SESSION = 1
LONGEST_S = 0.4  # the next request comes after at most so long, or with the final answer
START_PATIENCE_S = 120.0


def interrupted(
    config: dict[str, Any], scenario: str, spec: WorldSpec, requests: list[PlanRequest], seed: int
) -> tuple[list[Guidance], Counter[str], dict[str, Any]]:
    """Every guidance in the order in which it came; what the link dropped; the node's counts."""
    with tempfile.TemporaryDirectory(prefix="dualsys-") as name:
        folder = Path(name)
        run = Run(config, scenario, [0], SESSION, spec, {}, 0.0, recorders=0)
        (folder / "run.json").write_bytes(msgspec.json.encode(run))
        node = subprocess.Popen([sys.executable, "-m", "dualsys.runtime.nodes", "system2", name])
        try:
            with RequestClient(ipc(folder, "requests")) as client:
                arrived = _ask_all(client, node, requests, np.random.default_rng(seed))
                drops = client.link.drops
        finally:
            node.terminate()
            node.wait(30)
        return arrived, drops, json.loads((folder / "system2.json").read_text())


def _ask_all(
    client: RequestClient,
    node: subprocess.Popen[bytes],
    requests: list[PlanRequest],
    rng: np.random.Generator,
) -> list[Guidance]:
    arrived: list[Guidance] = []
    with progress_bar() as bar:
        task = bar.add_task("requests", total=len(requests), note="")
        for number, request in enumerate(requests):
            # The first answer may take as long as the node needs to start.
            patience = START_PATIENCE_S if number == 0 else rng.uniform(0, LONGEST_S)
            end, final = time.monotonic() + patience, False
            client.ask(request, time.monotonic_ns())
            while time.monotonic() < end and not final:
                if node.poll() is not None:
                    raise DualsysError("System 2 ended; its message stands above")
                for guidance in client.update(time.monotonic_ns()):
                    arrived.append(guidance)
                    final = guidance.final and guidance.request_id == request.request_id
                time.sleep(0.001)
            bar.update(task, advance=1, note=f"{len(arrived)} guidances")
    return arrived


def faults(spec: WorldSpec, request: PlanRequest | None, guidance: Guidance) -> list[str]:
    """What is wrong with a guidance that names `request`; None: nobody asked that."""
    mine = guidance.stamp.session, guidance.stamp.tick
    asked = request is not None and mine == (SESSION, request.stamp.tick)
    wrong = [] if asked else ["foreign_request"]
    fault = guidance_fault(guidance, spec, len(guidance.z))
    if fault is None and len(guidance.candidate) and not math.isfinite(guidance.value):
        fault = "value_not_finite"
    return wrong if fault is None else [*wrong, fault]


def same(one: Guidance, other: Guidance) -> bool:
    """True when two guidances tell System 1 the same."""
    return (
        (one.plan, one.final, one.text) == (other.plan, other.final, other.text)
        and np.array_equal(one.z, other.z)
        and np.array_equal(one.candidate, other.candidate)
        and (one.value == other.value or (math.isnan(one.value) and math.isnan(other.value)))
    )


def judge(
    config: dict[str, Any], spec: WorldSpec, requests: list[PlanRequest], arrived: list[Guidance]
) -> Counter[str]:
    """Faults of all guidances, the deviations from an undisturbed planner among them."""
    found: Counter[str] = Counter()
    planner = planners.make_planner(config, spec, {})
    assert planner is not None
    asked = {request.request_id: request for request in requests}
    undisturbed: tuple[int, list[Guidance]] = 0, []
    for guidance in arrived:
        number = guidance.request_id
        request = asked.get(number)
        found.update(faults(spec, request, guidance))
        if request is None:
            continue
        found["after_a_newer_one"] += number < undisturbed[0]
        if number != undisturbed[0]:
            undisturbed = number, list(planner.think(request, config["system2"]["budget"]))
        found["differs_from_undisturbed"] += not any(same(guidance, g) for g in undisturbed[1])
    return +found


def main() -> None:
    """Interrupt, judge, print, write the report; exit code 1 for any fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/interrupts.json"))
    parser.add_argument("overrides", nargs="*", help="of dualsys eval: system2.checkpoint=...")
    options = parser.parse_intermixed_args()
    set_headless_defaults()
    git = git_state()
    words = [f"scenario={options.scenario}", "system2=vlm", *options.overrides]
    try:
        config = load("eval", words)
        requests = requests_of(options.scenario, options.requests, session=SESSION)
        from sim import registry

        spec = registry.spec_of(options.scenario)
        arrived, drops, node = interrupted(config, options.scenario, spec, requests, options.seed)
    except DualsysError as error:
        parser.exit(2, f"interrupt_check: {error}\n")
    wrong = judge(config, spec, requests, arrived)
    answered = {guidance.request_id for guidance in arrived}
    report: dict[str, Any] = {
        "scenario": options.scenario,
        "requests": len(requests),
        "guidances": len(arrived),
        "requests_with_guidance": len(answered),
        "requests_with_final": sum(guidance.final for guidance in arrived),
        "interrupted_in_mid_thought": node["interrupted"],
        "faults": dict(wrong),
        "client_drops": dict(drops),
        "server_drops": node["drops"],
    }
    table_console().print_json(json.dumps(report))
    report |= {"overrides": words, "seed": options.seed, "contents": contents([config], spec)}
    report |= {"versions": versions(), "machine": machine(), "git": git}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
