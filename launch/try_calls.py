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
from rich.table import Table

from dualsys.console import progress_bar, table_console
from dualsys.environment import set_headless_defaults
from dualsys.errors import DualsysError
from dualsys.runtime.assembly import MACHINE_KEYS, checkpoint_folder, require_no_code
from dualsys.runtime.gates import judged
from dualsys.runtime.results import git_state, machine, versions
from dualsys.whatif.call_trials import CallTrial, save_trials, try_calls
from dualsys.whatif.crossroads import comparable, crossroads, drawn
from dualsys.whatif.verdicts import COLUMNS, Gain, Verdict, verdicts
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
        found = msgspec.json.decode((run / "results.json").read_bytes())["config"]
        configs.append(require_no_code(found, f"{run}/results.json"))
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


def found_out(trials: list[CallTrial]) -> list[Verdict]:
    """Per scenario, how many calls gain or harm."""
    return verdicts([Gain(trial.scenario, trial.seed, trial.gain) for trial in trials])


def show(trials: list[CallTrial]) -> None:
    """Print per scenario how many calls gain or harm."""
    table = Table(title="what a call is worth")
    for name in COLUMNS:
        named = name == "scenario"
        table.add_column(name, justify="left" if named else "right", no_wrap=named)
    for verdict in found_out(trials):
        table.add_row(*verdict.cells)
    table_console().print(table)


def teachable(trials: list[CallTrial]) -> list[CallTrial]:
    """The trials, those of evaluation's seeds without what the trigger saw: nobody learns of it."""
    try:
        registry.require_training((trial.scenario, trial.seed) for trial in trials)
    except DualsysError:
        return [msgspec.structs.replace(trial, features=[]) for trial in trials]
    return trials


def tried(
    options: argparse.Namespace, configs: Sequence[dict[str, Any]]
) -> tuple[list[CallTrial], int]:
    """The trials of all runs, and how many places were left out as an answer was still to come."""
    found, left_out = [], 0
    for run, config in zip(options.runs, configs, strict=True):
        found_in = crossroads(run, options.calls)
        places = comparable(found_in)
        left_out += len(found_in) - len(places)
        chosen = drawn(places, options.places, options.unsure, options.seed)
        with progress_bar() as bar:
            task = bar.add_task(run.name, total=len(chosen), note="")

            def advance(count: int, task: Any = task) -> None:
                bar.update(task, advance=count)

            found += try_calls(config, chosen, options.horizon_s, options.workers, advance)
    if not found:
        raise DualsysError(
            "no call to try: the runs hold no tick at which System 1 answered "
            "and no answer to an earlier call was still to come"
        )
    return found, left_out


def command_line() -> argparse.ArgumentParser:
    """What can be asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--places", type=int, default=400, help="per run")
    parser.add_argument("--calls", action="store_true", help="only where the run did call")
    parser.add_argument(
        "--unsure",
        type=float,
        default=0.0,
        help="share of the places from the fifth of ticks at which System 1 is least sure",
    )
    parser.add_argument("--horizon-s", type=float, default=4.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main() -> None:
    """Try the calls, print the table, write the file."""
    parser = command_line()
    options = parser.parse_args()
    if not 0.0 <= options.unsure <= 1.0:
        parser.error(f"--unsure is a share from 0 to 1, not {options.unsure}")
    if options.calls and options.unsure:
        parser.error("--calls judges the calls of a run as they came; leave --unsure out")
    set_headless_defaults()
    git = git_state()
    try:
        configs = of_one_kind(options.runs)
        found, left_out = tried(options, configs)
    except DualsysError as error:
        parser.exit(2, f"try_calls: {error}\n")
    spec = registry.spec_of(found[0].scenario)
    whose = judged(configs[0], spec, checkpoint_folder(configs[0], spec))
    about = {
        "horizon_s": options.horizon_s,
        "unsure": options.unsure,
        "config": {k: v for k, v in configs[0].items() if k not in MACHINE_KEYS},
        "git": git,
        # Ticks before which a call had been made whose answers were still to come.
        "left_out": left_out,
        "verdicts": found_out(found),
        "versions": versions(),
        "machine": machine(),
    }
    save_trials(teachable(found), whose, options.out, about)
    show(found)


if __name__ == "__main__":
    main()
