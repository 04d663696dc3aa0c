"""What System 2 met at work, for parity: `python launch/record_requests.py PLANNER RUN...`.

Picks requests evenly from the logs of runs and keeps them in PLANNER/recorded.mcap. Take runs of
training's seeds, so that no benchmark's episode is used.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from dualsys.console import table_console
from dualsys.errors import DualsysError
from dualsys.messages import PlanRequest
from dualsys.runtime.log import LogWriter, read_log
from dualsys.system2.checkpoint import RECORDED


def asked(run: Path) -> list[PlanRequest]:
    """All requests of a run, in order. Raises `DualsysError` where there are none."""
    log = run / "log.mcap"
    if not log.is_file():
        raise DualsysError(f"{run} holds no log.mcap; give folders of `dualsys eval` or `run`")
    found = [message for _, message in read_log(log) if isinstance(message, PlanRequest)]
    if not found:
        raise DualsysError(f"nothing was asked in {log}; run with system2=vlm and a trigger")
    return found


def main() -> None:
    """Read, pick, keep, say what was kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("planner", type=Path)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=40, help="requests of all runs together")
    options = parser.parse_args()
    try:
        if not options.planner.is_dir():
            raise DualsysError(f"there is no planner at {options.planner}")
        known = [request for run in options.runs for request in asked(run)]
        count = min(options.count, len(known))
        if count < 1:
            raise DualsysError(f"--count {options.count}: keep at least one request")
        places = np.linspace(0, len(known) - 1, count).round().astype(int)
        partial = options.planner / f"{RECORDED}.partial"
        with LogWriter(partial, {}) as log:
            for place in places:
                log.write("requests", known[place])
        partial.replace(options.planner / RECORDED)
    except DualsysError as error:
        parser.exit(2, f"record_requests: {error}\n")
    told = f"{count} of {len(known)} requests: {options.planner / RECORDED}"
    table_console().print(told, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
