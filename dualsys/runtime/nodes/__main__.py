"""Runs one node until it is done or told to stop."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from dualsys.environment import set_headless_defaults
from dualsys.errors import DualsysError
from dualsys.runtime.nodes import recorder, system1, system2, world
from dualsys.runtime.nodes.common import STOP, Run
from dualsys.workers import end_with_parent

NODES = {"world": world, "system1": system1, "system2": system2, "recorder": recorder}


def main(role: str, folder: Path, parent: int | None = None) -> None:
    """Run the node of a role, as long as its parent lives, whose number may be given."""
    for number in (signal.SIGINT, signal.SIGTERM):  # an exception could tear a record in two
        signal.signal(number, lambda number, frame: STOP.set())
    end_with_parent(parent)  # it may have gone while all of this was imported
    set_headless_defaults()
    run = msgspec.json.decode((folder / "run.json").read_bytes(), type=Run)
    counts: dict[str, Any] = {}
    try:
        NODES[role].run(run, folder, counts)
    except DualsysError as error:
        counts["error"] = str(error)
        sys.stderr.write(f"dualsys {role}: {error}\n")
        sys.exit(2)
    finally:
        partial = folder / f"{role}.json.partial"
        partial.write_bytes(msgspec.json.encode(counts))
        partial.replace(folder / f"{role}.json")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
