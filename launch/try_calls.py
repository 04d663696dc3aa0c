"""What calls to System 2 are worth: `python launch/try_calls.py RUN ... --out FILE`.

From ticks of logged drives System 1 goes on with and without a call. On training seeds the file
feeds `dualsys train gate data=FILE`; with --calls, on evaluation seeds, it says how many of the
calls that a run really made were useful, neutral or harmful.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.table import Table

from dualsys.console import progress_bar, table_console
from dualsys.environment import set_headless_defaults
from dualsys.errors import DualsysError
from dualsys.runtime.assembly import checkpoint_folder
from dualsys.runtime.gates import judged
from dualsys.runtime.results import git_state, machine, versions
from dualsys.whatif.call_trials import CallTrial, save_trials, try_calls
from dualsys.whatif.crossroads import comparable, crossroads
from dualsys.whatif.verdicts import COLUMNS, Gain, verdicts
from sim import registry

KIND = ("system1", "system2", "latency")  # what a call is worth depends on these of a run


def of_one_kind(runs: Sequence[Path]) -> list[dict[str, Any]]:
    """The configurations of runs that are of one kind.

    Raises `DualsysError` for a folder that is no run, and for runs of several kinds.
    """
    configs: list[dict[str, Any]] = []
    for run in runs:
        if not (run / "results.json").is_file():
            raise DualsysError(
                f"{run} is not the folder of a run; give the out= of a `dualsys eval`"
            )
        configs.append(msgspec.json.decode((run / "results.json").read_bytes())["config"])
        one, other = ({k: config[k] for k in KIND} for config in (configs[0], configs[-1]))
        differ = [
            f"{part}.{key}={one[part].get(key)} and {other[part].get(key)}"
            for part in KIND
            for key in sorted({*one[part], *other[part]})
            if one[part].get(key) != other[part].get(key)
        ]
        if differ:
            raise DualsysError(
                f"{runs[0]} and {run} are runs of different kinds ({'; '.join(differ)}); write one "
                "file (--out) for each kind of run"
            )
    return configs


def show(trials: list[CallTrial]) -> None:
    """Print per scenario how many calls gain or harm."""
    table = Table(title="what a call is worth")
    for name in COLUMNS:
        named = name == "scenario"
        table.add_column(name, justify="left" if named else "right", no_wrap=named)
    for verdict in verdicts([Gain(trial.scenario, trial.seed, trial.gain) for trial in trials]):
        table.add_row(*verdict.cells)
    table_console().print(table)


def main() -> None:
    """Try the calls, print the table, write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--places", type=int, default=400, help="per run")
    parser.add_argument("--calls", action="store_true", help="only where the run did call")
    parser.add_argument("--horizon-s", type=float, default=4.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    set_headless_defaults()
    git, found, left_out = git_state(), [], 0
    try:
        configs = of_one_kind(options.runs)
        for run, config in zip(options.runs, configs, strict=True):
            found_in = crossroads(run, options.calls)
            places = comparable(found_in)
            left_out += len(found_in) - len(places)
            drawn = np.random.default_rng(options.seed).permutation(len(places))
            chosen = [places[i] for i in sorted(drawn[: options.places])]
            with progress_bar() as bar:
                task = bar.add_task(run.name, total=len(chosen), note="")
                found += try_calls(
                    config,
                    chosen,
                    options.horizon_s,
                    options.workers,
                    lambda count, task=task: bar.update(task, advance=count),  # type: ignore[misc]
                )
        if not found:
            raise DualsysError(
                "no call to try: the runs hold no tick at which System 1 answered "
                "and no answer to an earlier call was still to come"
            )
    except DualsysError as error:
        parser.exit(2, f"try_calls: {error}\n")
    spec = registry.spec_of(found[0].scenario)
    whose = judged(configs[0], spec, checkpoint_folder(configs[0], spec))
    about = {"horizon_s": options.horizon_s, "config": configs[0], "git": git}
    # Ticks before which a call had been made whose answers were still to come.
    about |= {"left_out": left_out, "versions": versions(), "machine": machine()}
    save_trials(found, whose, options.out, about)
    show(found)


if __name__ == "__main__":
    main()
