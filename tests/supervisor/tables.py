"""Tables of processes for the tests of the supervisor."""

from __future__ import annotations

import sys
from typing import Any

from dualsys.config import load
from dualsys.supervisor.table import SupervisorConfig, of_config


def config(**changes: Any) -> SupervisorConfig:
    """The shipped table with changes."""
    return of_config({**load("eval", ["scenario=driving/merge"])["supervisor"], **changes})


def python(code: str) -> list[str]:
    """A process that runs some lines; {folder} is the run's."""
    return [sys.executable, "-c", code, "{folder}"]
