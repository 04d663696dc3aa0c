"""What System 1 meets at work, for the parity gate: `python launch/record_inputs.py CHECKPOINT`.

Drives each scenario of the suites once with System 2 thinking and keeps a few of the passes' inputs
in CHECKPOINT/recorded.safetensors. Seeds are training's, so that no benchmark's episode is used.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from dualsys.bench.rig import rig
from dualsys.config import load
from dualsys.console import progress_bar, table_console
from dualsys.environment import set_headless_defaults
from dualsys.errors import DualsysError
from kernels.engine import Engine
from kernels.network import Arrays
from kernels.reference import RECORDED, RecordingEngine, stacked
from sim import registry


def passes(scenario: str, words: list[str], count: int) -> list[Arrays]:
    """So many inputs of one episode, evenly apart; those of the warm-up are left out."""
    recording: list[RecordingEngine] = []

    def watch(engine: Engine) -> Engine:
        recording.append(RecordingEngine(engine, left_out=["noise"]))
        return recording[0]

    with rig(load("eval", [f"scenario={scenario}", *words]), scenario, watch) as driven:
        recording[0].asked.clear()
        driven.run(0, registry.FIRST_TRAINING_SEED)
    asked = recording[0].asked
    places = np.linspace(0, len(asked) - 1, min(count, len(asked))).round().astype(int)
    return [asked[place] for place in places]


def main() -> None:
    """Drive, keep, say what was kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--suites", nargs="+", default=[])
    parser.add_argument("--scenarios", nargs="+", default=[], help="single ones, as of your own")
    parser.add_argument("--each", type=int, default=4, help="passes of each scenario")
    parser.add_argument("words", nargs="*", help="further words of `dualsys eval`")
    options = parser.parse_intermixed_args()
    set_headless_defaults()
    words = [f"system1.checkpoint={options.checkpoint}", "trigger=periodic", *options.words]
    try:
        names = [name for suite in options.suites for name in registry.suite(suite)]
        names += options.scenarios
        if not names:
            raise DualsysError("record what? give --suites NAME ... or --scenarios NAME ...")
        found: list[Arrays] = []
        with progress_bar() as bar:
            task = bar.add_task("scenarios", total=len(names), note="")
            for name in names:
                found += passes(name, words, options.each)
                bar.update(task, advance=1, note=name)
        from safetensors.numpy import save_file

        partial = options.checkpoint / f"{RECORDED}.partial"
        save_file(stacked(found), partial)
        partial.replace(options.checkpoint / RECORDED)
    except DualsysError as error:
        parser.exit(2, f"record_inputs: {error}\n")
    told = f"{len(found)} passes of {len(names)} scenarios: {options.checkpoint / RECORDED}"
    table_console().print(told, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
