"""Carry out every candidate of thoughts: `python launch/try_candidates.py RUN ... --out DATASET`.

The runs are of `dualsys eval system2=vlm system2.candidates=5` on training seeds. Each candidate
becomes an episode as long as its chunk; the dataset goes to `dualsys train value` beside whole
episodes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dualsys.console import progress_bar
from dualsys.environment import set_headless_defaults
from dualsys.errors import DualsysError
from dualsys.whatif.candidate_trials import record_trials
from dualsys.whatif.candidates import drawn_branches


def main() -> None:
    """Carry the candidates out and build the dataset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--states", type=int, default=500, help="per run")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    set_headless_defaults()
    try:
        drawn = [drawn_branches(run, options.states, options.seed)[1] for run in options.runs]
        branches = [branch for part in drawn for branch in part]
        with progress_bar() as bar:
            task = bar.add_task("states", total=len(branches), note="")
            for count in record_trials(options.out, branches, options.workers):
                bar.update(task, advance=count)
    except DualsysError as error:
        parser.exit(2, f"try_candidates: {error}\n")


if __name__ == "__main__":
    main()
