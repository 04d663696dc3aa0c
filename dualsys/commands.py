"""What each command does with its composed configuration: progress, run, table."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from dualsys.config import parse_seeds
from dualsys.errors import DualsysError

Config = dict[str, Any]
Fit = Callable[[Config, Callable[[int, dict[str, float]], None]], Path]


def table_console() -> Console:
    """Standard output, wide enough for the tables where no terminal limits it (a file, a pipe)."""
    return Console(width=None if sys.stdout.isatty() else 200)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _scenarios(config: Config) -> list[str]:
    from sim import registry

    if (config["scenario"] is None) == (config["suite"] is None):
        raise DualsysError(
            "give one of scenario=DOMAIN/NAME and suite=NAME, for example "
            "scenario=driving/merge or suite=mt10"
        )
    if config["suite"] is not None:
        return list(registry.suite(config["suite"]))
    registry.require(config["scenario"])
    return [config["scenario"]]


def run_eval(config: Config) -> int:
    """`dualsys eval` and `dualsys run`."""
    from dualsys.runtime.evaluate import JobResult, evaluate

    seeds, scenarios = parse_seeds(config["seeds"]), _scenarios(config)
    config = {**config, "seeds": config["seeds"]}
    if config["workers"] < 1:
        raise DualsysError(f"workers={config['workers']}: at least one worker is needed")
    if config["runtime"]["name"] == "realtime":
        return _run_realtime(config, scenarios, seeds)
    done = good = 0
    with _bar() as bar:
        task = bar.add_task("episodes", total=len(seeds) * len(scenarios), note="")

        def progress(result: JobResult) -> None:
            nonlocal done, good
            done += len(result.rows)
            good += sum(row["success"] for row in result.rows)
            bar.update(task, advance=len(result.rows), note=f"success {good}/{done}")

        results = evaluate(config, scenarios, seeds, progress)
    show_results(results, table_console())
    _film(results)
    return 0


def _run_realtime(config: Config, scenarios: list[str], seeds: list[int]) -> int:
    from dualsys.runtime.realtime import realtime

    for scenario in scenarios:
        out = config["out"] if len(scenarios) == 1 else f"{config['out']}/{scenario}"
        results = realtime({**config, "out": out}, scenario, seeds)
        show_results(results, table_console())
        _film(results)
    return 0


def _film(results: Config) -> None:
    """Write the videos that were asked for beside the log."""
    if not results["config"]["videos"]:
        return
    from dualsys.runtime.video import film
    from sim import registry

    out, chosen, counts = Path(results["config"]["out"]), {}, Counter[str]()
    for row in results["episodes"]:
        counts[row["scenario"]] += 1
        if counts[row["scenario"]] <= results["config"]["videos"]:
            chosen[row["epoch"]] = (row["scenario"], registry.spec_of(row["scenario"]))
    paths = film(out / "log.mcap", out / "videos", chosen)
    table_console().print(f"videos: {len(paths)} in {out / 'videos'}")


def show_results(results: Config, console: Console) -> None:
    """Print the tables of a run."""
    table = Table(title=f"{results['runtime']}, system2 {results['system2']['name']}")
    for name in ("scenario", "success", "95% interval", "collisions", "return", "calls", "jerk"):
        table.add_column(name, justify="left" if name == "scenario" else "right", no_wrap=True)
    rows = results["summary"]["by_scenario"]
    if len(rows) > 1:
        rows = {**rows, "all": results["summary"]}
    for name, row in rows.items():
        low, high = row["success_ci95"]
        table.add_row(
            name,
            percent(row["success_rate"]),
            f"{low:.1%} .. {high:.1%}",
            percent(row["collision_rate"]),
            f"{row['mean_return']:.1f}",
            f"{row['calls_per_episode']:.1f}",
            f"{row['mean_jerk']:.4f}",
        )
    console.print(table)
    times = Table(title="time per stage and ages [ms]")
    for name in ("stage", "p50", "p99", "p99.9", "max"):
        times.add_column(name, justify="left" if name == "stage" else "right")
    ages = {f"age: {k}": v for k, v in results["age"].items()}
    for stage, values in {**results["timing"], **ages}.items():
        if values:
            times.add_row(stage, *(f"{v:.2f}" for v in values.values()))
    console.print(times)
    rates, ticks = results["rates"], results["ticks"]
    console.print(
        f"network {rates['network_hz']:.1f} Hz, actions {rates['action_hz']:.1f} Hz, "
        f"ticks {ticks['total']} (missed {ticks['missed']}, machine stalls {ticks['stalls']}), "
        f"calls {results['calls']}, drops {results['drops'] or 'none'}, "
        f"shield {results['shield'] or 'never intervened'}",
        highlight=False,
    )
    alone = results["guidance"]
    silence = alone.get("silent_for_s")
    console.print(
        f"guidance: oldest in use {alone['oldest_s']:.2f} s, System 1 alone in "
        f"{alone['ticks_alone']} of {alone['ticks']} ticks"
        + (f", last answer {silence:.2f} s before the end" if silence is not None else ""),
        highlight=False,
    )
    console.print(f"written to {results['config']['out']}: results.json, log.mcap")


def percent(rate: float | None) -> str:
    """A rate for a table; "-" where no episode was completed."""
    return "-" if rate is None else f"{rate:.1%}"


def run_collect(config: Config) -> int:
    """`dualsys collect`: from experts, or from the logs of runs."""
    if config["runs"]:
        return _collect_runs(config)
    from sim.collect import Noise, Report, collect

    seeds, scenarios = parse_seeds(config["seeds"]), _scenarios(config)
    counts = {name: [0, 0, 0] for name in scenarios}
    with _bar() as bar:
        task = bar.add_task("episodes", total=len(seeds) * len(scenarios), note="")

        def progress(report: Report) -> None:
            row = counts[report.scenario]
            row[0] += report.episodes
            row[1] += report.failures
            row[2] += report.ticks
            bar.update(task, advance=report.episodes, note=report.scenario)

        info = collect(
            Path(config["out"]),
            scenarios,
            seeds,
            msgspec.convert(config["noise"], Noise),
            config["workers"],
            config["stop_after_success_ticks"],
            config["max_ticks"],
            config["keep_failures"],
            progress,
        )
    _show_collected(counts, config["out"], info)
    return 0


def _collect_runs(config: Config) -> int:
    from dualsys.learning.from_log import collect_runs
    from dualsys.learning.shards import Episode

    counts: dict[str, list[int]] = {}
    with _bar() as bar:
        task = bar.add_task("episodes", total=None, note="")

        def recorded(episode: Episode) -> None:
            row = counts.setdefault(episode.scenario, [0, 0, 0])
            row[0] += 1
            row[1] += not episode.success
            row[2] += len(episode.columns["action"])
            bar.update(task, advance=1, note=episode.scenario)

        info = collect_runs([Path(run) for run in config["runs"]], Path(config["out"]), recorded)
    _show_collected(counts, config["out"], info)
    return 0


def _show_collected(counts: dict[str, list[int]], out: str, info: Config) -> None:
    table = Table(title="recorded now")
    for name in ("scenario", "episodes", "failed", "ticks kept"):
        table.add_column(name, justify="left" if name == "scenario" else "right", no_wrap=True)
    for name, row in counts.items():
        table.add_row(name, *(str(v) for v in row))
    table_console().print(table)
    table_console().print(
        f"dataset {out}: {info['total_episodes']} episodes, {info['total_frames']} ticks"
    )


def run_thoughts(config: Config) -> int:
    """`dualsys thoughts`."""
    from dualsys.show_thoughts import explain, list_thoughts, newest_at, save_images, stories_of
    from sim import registry

    run, console = Path(config["run"]), table_console()
    stories = stories_of(run, config["epoch"])
    results = msgspec.json.decode((run / "results.json").read_bytes())
    (row,) = [row for row in results["episodes"] if row["epoch"] == config["epoch"]]
    spec = registry.spec_of(row["scenario"])
    if config["tick"] < 0:
        list_thoughts(stories, spec.plans, console)
        return 0
    story = newest_at(stories, config["tick"])
    explain(story, spec, console)
    if config["images"]:
        for path in save_images(story, Path(config["images"])):
            console.print(f"seen: {path}", markup=False)
    return 0


def run_score(config: Config) -> int:
    """`dualsys score`."""
    from dualsys.learning.score_planner import score_planner

    console = table_console()
    with console.status("thinking about recorded ticks"):
        report = score_planner(config)
    table = Table(title=f"{config['planner']} on {report['ticks']} recorded ticks")
    for name in ("question", "tokens right", "95% interval", "answers right", "blind guess"):
        table.add_column(name, justify="left" if name == "question" else "right", no_wrap=True)
    for name, row in report["questions"].items():
        low, high = row["token_accuracy_ci95"]
        right, blind = percent(row["answer_accuracy"]), percent(row["most_frequent"])
        interval = f"{low:.1%} .. {high:.1%}"
        table.add_row(name, percent(row["token_accuracy"]), interval, right, blind)
    console.print(table)
    depths = ", ".join(f"{error:.3f}" for error in report["candidate_rmse"])
    console.print(f"candidates' error by depth, in standard deviations of the action: {depths}")
    measured, nominal = report["bits_measured"], report["bits_nominal"]
    console.print(f"code: {measured:.1f} bits per message measured, {nominal:.0f} at most")
    console.print(f"written to {config['out']}", markup=False)
    return 0


def run_train_system1(config: Config) -> int:
    """`dualsys train system1`."""
    from dualsys.learning.fit_policy import fit_policy

    return _train(config, fit_policy)


def run_train_system2(config: Config) -> int:
    """`dualsys train system2`."""
    from dualsys.learning.fit_planner import fit_planner

    return _train(config, fit_planner)


def run_distill(config: Config) -> int:
    """`dualsys distill`."""
    from dualsys.learning.distill import distill

    return _train(config, distill)


def run_train_value(config: Config) -> int:
    """`dualsys train value`."""
    from dualsys.learning.fit_value import fit_value

    return _train(config, fit_value)


def run_train_instruct(config: Config) -> int:
    """`dualsys train instruct`."""
    from dualsys.learning.fit_instruct import fit_instruct

    return _train(config, fit_instruct)


def _train(config: Config, fit: Fit) -> int:
    with _bar() as bar:
        task = bar.add_task("steps", total=config["steps"], note="")

        def progress(step: int, parts: dict[str, float]) -> None:
            note = " ".join(f"{name} {value:.3f}" for name, value in parts.items())
            bar.update(task, completed=step, note=note)

        folder = fit(config, progress)
    table_console().print(f"checkpoint written to {folder}")
    return 0


def show_help(command: str, folder: Path) -> None:
    """Print the keys of a command with their defaults, and the choices of every group."""
    from omegaconf import OmegaConf

    from dualsys.config import COMMANDS

    console = table_console()
    console.print(f"usage: dualsys {command} [key=value ...]   (-m sweeps over a,b,c)\n")
    groups = Table(title="groups", title_justify="left", box=None)
    groups.add_column("group=")
    groups.add_column("choices")
    for path in sorted(p for p in folder.iterdir() if p.is_dir()):
        if path.name in COMMANDS[command].__dataclass_fields__:
            names = sorted(str(f.relative_to(path).with_suffix("")) for f in path.rglob("*.yaml"))
            groups.add_row(path.name, ", ".join(names))
    console.print(groups)
    if "scenario" in COMMANDS[command].__dataclass_fields__:
        from sim import registry

        console.print(f"\nscenario= one of {', '.join(registry.scenarios())}", highlight=False)
        console.print(f"suite= one of {', '.join(registry.SUITES)}", highlight=False)
    console.print("\nkeys and defaults:")
    console.print(
        OmegaConf.to_yaml(OmegaConf.structured(COMMANDS[command])), markup=False, highlight=False
    )


RUN: dict[str, Callable[[Config], int]] = {
    "eval": run_eval,
    "run": run_eval,
    "collect": run_collect,
    "thoughts": run_thoughts,
    "score": run_score,
    "train system1": run_train_system1,
    "train system2": run_train_system2,
    "distill": run_distill,
    "train value": run_train_value,
    "train instruct": run_train_instruct,
}
