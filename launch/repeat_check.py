"""Equal runs write equal bytes: `python launch/repeat_check.py [SCENARIO] [--seeds 0:10]`.

Runs the same evaluation with one worker and with two and compares the logs byte by byte.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from dualsys.bench.evaluate import evaluate
from dualsys.config import load, parse_seeds
from dualsys.console import table_console
from dualsys.environment import set_headless_defaults
from dualsys.errors import DualsysError
from dualsys.runtime.results import git_state, machine, versions

WORKERS = (1, 2)


def logged(scenario: str, seeds: str, workers: int, out: Path) -> dict[str, Any]:
    """One evaluation: size and hash of its log."""
    words = [f"scenario={scenario}", f"seeds={seeds}", f"workers={workers}", f"out={out}"]
    words.append("system2=scripted")
    config = load("eval", words)
    # Few episodes to a job, so that two workers really share them.
    evaluate(config, [scenario], parse_seeds(seeds), lambda result: None, episodes_per_job=2)
    log = (out / "log.mcap").read_bytes()
    return {"workers": workers, "bytes": len(log), "sha256": hashlib.sha256(log).hexdigest()}


def main() -> int:
    """Run both, print the hashes, write the report; 0 when they are equal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", nargs="?", default="driving/merge")
    parser.add_argument("--seeds", default="0:10")
    parser.add_argument("--out", type=Path, default=Path("runs/repeat"))
    options = parser.parse_args()
    set_headless_defaults()
    git = git_state()
    try:
        runs = [
            logged(options.scenario, options.seeds, count, options.out / f"workers{count}")
            for count in WORKERS
        ]
    except DualsysError as error:
        parser.exit(2, f"repeat_check: {error}\n")
    equal = len({run["sha256"] for run in runs}) == 1
    for run in runs:
        line = f"{run['workers']} worker(s): {run['bytes']} bytes, sha256 {run['sha256']}"
        table_console().print(line, highlight=False)
    table_console().print("equal" if equal else "NOT equal")
    report = {"scenario": options.scenario, "seeds": options.seeds, "equal": equal, "runs": runs}
    report |= {"versions": versions(), "machine": machine(), "git": git}
    (options.out / "repeat.json").write_text(json.dumps(report, indent=1))
    return 0 if equal else 1


if __name__ == "__main__":
    raise SystemExit(main())
