"""Equal runs write equal bytes: `python launch/repeat_check.py [--ray] eval|bench WORD ...`.

Runs the same evaluation, or benchmark, with one worker and with two (`--ray`: and on a Ray cluster
of this machine) and compares byte by byte what came of it: the log, or the results (bench.json).
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from dualsys.bench.command import run_bench
from dualsys.bench.evaluate import evaluate
from dualsys.bench.store import REPORT
from dualsys.config import load, parse_seeds
from dualsys.console import table_console
from dualsys.environment import set_headless_defaults
from dualsys.errors import DualsysError
from dualsys.runtime.results import git_state, machine, versions
from sim import registry

WORKERS = (1, 2)
RAY = "ray_address=local"


def evaluated(words: list[str], workers: int, out: Path) -> Path:
    """The log of one evaluation."""
    config = load("eval", [*words, f"workers={workers}", f"out={out}"])
    scenarios = registry.chosen(config["scenario"], config["suite"])
    # Few episodes to a job, so that two workers really share them.
    seeds = parse_seeds(config["seeds"])
    evaluate(config, scenarios, seeds, lambda result: None, episodes_per_job=2)
    return out / "log.mcap"


def benched(words: list[str], workers: int, out: Path) -> Path:
    """The results of one benchmark."""
    run_bench([*words, f"workers={workers}", f"out={out}"])
    return out / REPORT


def told(name: str, file: Path) -> dict[str, Any]:
    """What is compared of one run: size and hash of its file."""
    content = file.read_bytes()
    return {"by": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def repeated(command: str, words: list[str], ray: bool, out: Path) -> list[dict[str, Any]]:
    """Every way of running it.

    Raises `DualsysError` where a folder of an earlier check is in the way, and what a run raises.
    """
    if out.exists() and any(out.iterdir()):
        raise DualsysError(f"{out} is not empty; remove it, or give another --out")
    run = benched if command == "bench" else evaluated
    runs = [
        told(f"{count} worker{'s'[: count > 1]}", run(words, count, out / f"workers{count}"))
        for count in WORKERS
    ]
    if ray:
        runs.append(told("Ray, 2 workers", run([*words, RAY], 2, out / "ray")))
    return runs


def main() -> int:
    """Run all, print the hashes, write the report; 0 when they are equal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("eval", "bench"))
    parser.add_argument("words", nargs="*", metavar="WORD", help="as `dualsys` takes them")
    parser.add_argument("--ray", action="store_true", help="also on a cluster (bench)")
    parser.add_argument("--out", type=Path, default=Path("runs/repeat"))
    options = parser.parse_args()
    if options.ray and options.command != "bench":
        parser.error("--ray is for bench: an evaluation runs on this machine")
    set_headless_defaults()
    git = git_state()
    try:
        runs = repeated(options.command, options.words, options.ray, options.out)
    except DualsysError as error:
        parser.exit(2, f"repeat_check: {error}\n")
    equal = len({run["sha256"] for run in runs}) == 1
    for run in runs:
        line = f"{run['by']}: {run['bytes']} bytes, sha256 {run['sha256']}"
        table_console().print(line, highlight=False)
    table_console().print("equal" if equal else "NOT equal")
    report = {"command": [options.command, *options.words], "equal": equal, "runs": runs}
    report |= {"versions": versions(), "machine": machine(), "git": git}
    (options.out / "repeat.json").write_text(json.dumps(report, indent=1))
    return 0 if equal else 1


if __name__ == "__main__":
    raise SystemExit(main())
