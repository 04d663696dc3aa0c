"""`dualsys distill`: what System 2's guidance achieved is taught to System 1, to do without asking.

Successful guided episodes of runs become demonstrations; training goes on from the System 1 that
drove them, with the plan withheld more often than not.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dualsys.errors import DualsysError
from dualsys.learning.fit_policy import fit_policy
from dualsys.learning.from_log import collect_runs
from dualsys.learning.shards import Episode

Progress = Callable[[int, dict[str, float]], None]


def distill(config: dict[str, Any], progress: Progress) -> Path:
    """Teach System 1 the guided successes of `config["runs"]`. Returns the checkpoint's folder.

    `config` is that of `train system1` with runs, whose accepted episodes are written as a dataset
    to `out`/accepted; `data` names further demonstrations. Raises `DualsysError` when no episode
    was accepted, or when no planner is given for a System 1 that takes codes.
    """
    root, runs = Path(config["out"]) / "accepted", [Path(run) for run in config["runs"]]
    if not runs:
        raise DualsysError("distill needs runs=[DIR,...], folders of guided `dualsys eval` runs")
    _require_codes(config)
    collect_runs(runs, root, lambda episode: None, guided_success)
    more = [config["data"]] if isinstance(config["data"], str) else list(config["data"])
    return fit_policy({**config, "data": [str(root), *more]}, progress)


def _require_codes(config: dict[str, Any]) -> None:
    size = config["network"]["plan_vector_size"]
    if size and not config["planner"]:
        raise DualsysError(
            f"System 1 takes a code of {size} values beside the plan, and without planner= every "
            "code would be empty: it would unlearn those that runs send; give planner=FOLDER, the "
            "planner it is to listen to (such as dualsys/weights/manipulation-planner), or begin "
            "with a System 1 of network.plan_vector_size=0"
        )


def guided_success(episode: Episode) -> bool:
    """True when the episode succeeded and System 1 used guidance in it."""
    return episode.success and bool((episode.columns["plan"] >= 0).any())
