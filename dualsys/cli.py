"""The command line: `dualsys run | eval | collect | train`, Hydra overrides after the command.

Exit code 0 only if all was done; 2 for an error that the user can mend (one line says how).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from dualsys.console import answered, for_programs
from dualsys.errors import DualsysError, refusal

USAGE = """usage: dualsys COMMAND [key=value ...]

commands:
  eval      closed-loop episodes of a scenario= or suite=, writes results.json and log.mcap
  run       as eval, one episode
  bench     a table of variants over scenarios and seeds, compared in pairs; --resume out=DIR
  collect   expert demonstrations, or the episodes of runs=[DIR,...], as a LeRobotDataset v3
  train     train system1 data=DIR out=DIR, train system2 data=DIR out=DIR,
            train heads|value planner=DIR data=[DIR,...], train instruct planner=DIR scores=FILE,
            train gate data=[FILE,...] out=DIR, train exits checkpoint=DIR data=DIR out=DIR
  calibrate what System 1's uncertainty foretells in runs=[DIR,...], and its thresholds
  distill   teach System 1 what guided runs achieved: runs=[DIR,...] start=DIR out=DIR
  score     how well a planner answers and proposes: planner=DIR data=DIR out=FILE.json
  build     engines for this machine, compared with torch: scenario=NAME engine=LIST
  bench-engine  how long System 1 takes, engine beside engine: scenario=NAME engine=LIST
  report    runs, benchmarks and calibrations as one HTML page: report DIR ... out=FILE.html
  doctor    what this machine has and lacks, with a remedy for each lack
  replay    a log through one system alone, its answers held against the log's: replay LOG
  view      a log in Rerun, also while it is written: view LOG [save=FILE.rrd] [how=browser]
  serve     serve system2 link.bind=tcp://*:PORT link.server_keys=DIR: for runs on other machines,
            which find it with system2=served link.requests=tcp://HOST:PORT link.client_keys=DIR;
            serve openpi|gr00t scenario=NAME peer.port=N: for clients of those stacks
  keys      keys for a link that other machines can reach: clients=[NAME,...] out=DIR
  thoughts  what System 2 thought in run=DIR, or all about one thought (tick=T)
  completion  of commands and keys by the tab key: completion bash|zsh|fish

`dualsys COMMAND --help` lists keys and choices; --json writes what was found to standard output as
JSON, tables to standard error. Example:
  dualsys eval scenario=driving/merge system2=scripted latency=fixed seeds=0:50 workers=2 out=DIR
"""

# The key with the folder that a command fills; nobody else may at the same time.
FILLED = {
    **dict.fromkeys(("eval", "run", "build", "collect", "distill"), "out"),
    **dict.fromkeys(("train system1", "train system2", "train instruct"), "out"),
    **dict.fromkeys(("train gate", "train exits"), "out"),
    **dict.fromkeys(("train heads", "train value"), "planner"),
}


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the console script."""
    words = sys.argv[1:] if arguments is None else arguments
    with for_programs("--json" in words):
        sys.exit(_told([word for word in words if word != "--json"]))


def _told(words: list[str]) -> int:
    """The exit code; what went wrong is told in one line."""
    try:
        return _dispatch(words)
    except DualsysError as error:
        return _failed(str(error), 2)
    except OSError as error:
        kept = "what was finished is kept, mend this and run the command again"
        return _failed(f"{refusal(error)}; {kept}", 2)
    except KeyboardInterrupt as stopped:
        return _failed(f"interrupted; {str(stopped) or 'what was finished is kept'}", 130)


def _failed(told: str, code: int) -> int:
    colour = "yellow" if code == 130 else "red"
    Console(stderr=True).print(f"dualsys: {told}", style=colour, markup=False, soft_wrap=True)
    answered({"error": told})
    return code


def _dispatch(words: list[str]) -> int:
    from dualsys.config import load
    from dualsys.environment import set_headless_defaults
    from dualsys.errors import UnknownNameError
    from dualsys.schemas import COMMANDS

    if not words or words[0] in ("-h", "--help", "help"):
        Console().print(USAGE, markup=False, highlight=False)
        return 0 if words else 2
    command, overrides = words[0], words[1:]
    if command == "completion":
        from dualsys.completion import answer

        sys.stdout.write(answer(overrides))
        return 0
    if command == "train" and overrides[:1] not in ([], ["-h"], ["--help"]):
        command, overrides = f"train {overrides[0]}", overrides[1:]
    if command == "serve" and overrides[:1] not in ([], ["-h"], ["--help"]):
        command, overrides = f"serve {overrides[0]}", overrides[1:]
    if command == "serve":
        raise DualsysError("say what to serve: dualsys serve system2|openpi|gr00t")
    if command == "train":
        raise DualsysError(
            "say what to train: dualsys train system1|system2|heads|value|instruct|gate|exits"
        )
    if command not in COMMANDS:
        raise UnknownNameError("command", command, COMMANDS)
    if "-h" in overrides or "--help" in overrides:
        from dualsys.commands import show_help

        show_help(command)
        return 0
    set_headless_defaults()
    if command == "bench":
        from dualsys.bench.command import run_bench

        return run_bench(overrides)
    if command == "report":  # plain words are what it is about
        about = [word for word in overrides if "=" not in word]
        overrides = [word for word in overrides if "=" in word]
        overrides += [f"of=[{','.join(about)}]"] if about else []
    if command in ("replay", "view"):  # the plain word is the log
        overrides = [word if "=" in word else f"log={word}" for word in overrides]
    if "-m" in overrides or "--multirun" in overrides:
        return _sweep(command, [word for word in overrides if word[:1] != "-"])
    return _execute(command, load(command, overrides))


def _execute(command: str, config: dict[str, Any]) -> int:
    from dualsys import commands
    from dualsys.occupied import occupied

    if command not in FILLED:
        return commands.RUN[command](config)
    with occupied(Path(config[FILLED[command]])):
        return commands.RUN[command](config)


def _sweep(command: str, overrides: list[str]) -> int:
    """Run every combination of comma-separated values, each in its own out= folder."""
    from dualsys.config import expand_sweep, load

    console, failed = Console(stderr=True), 0
    for number, job in enumerate(expand_sweep(command, overrides)):
        console.print(f"sweep {number}: {' '.join(job)}", style="bold", markup=False)
        try:
            config = load(command, job)
            if "out" not in config:
                raise DualsysError(f"`dualsys {command}` has no out= for the runs of a sweep")
            config["out"] = f"{config['out']}/{number}"
            failed += _execute(command, config) != 0
        except (DualsysError, OSError) as error:
            told = refusal(error) if isinstance(error, OSError) else str(error)
            console.print(f"dualsys: {told}", style="red", markup=False, soft_wrap=True)
            failed += 1
    return 1 if failed else 0
