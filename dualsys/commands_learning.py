"""The commands that make data and models: collect, train, distill, score.

Each imports what it needs when it runs, so that `--help` is quick and a missing extra is one line.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table

from dualsys.config import parse_seeds
from dualsys.console import answered, percent, progress_bar, table_console

SHARED = ("out", "data", "start", "planner", "prompts_from", "checkpoint", "runs", "scores")
Config = dict[str, Any]
Fit = Callable[[Config, Callable[[int, dict[str, float]], None]], Path]


def run_collect(config: Config) -> int:
    """`dualsys collect`: from experts, or from the logs of runs."""
    if config["runs"]:
        return _collect_runs(config)
    from sim import registry
    from sim.collect import Noise, Report, collect

    scenarios = registry.chosen(config["scenario"], config["suite"])
    seeds = parse_seeds(config["seeds"])
    counts = {name: [0, 0, 0] for name in scenarios}
    with progress_bar() as bar:
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
    with progress_bar() as bar:
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
        table.add_column(name, justify="left" if name == "scenario" else "right", overflow="fold")
    for name, row in counts.items():
        table.add_row(name, *(str(v) for v in row))
    table_console().print(table)
    table_console().print(
        f"dataset {out}: {info['total_episodes']} episodes, {info['total_frames']} ticks"
    )
    recorded = {
        name: dict(zip(("episodes", "failed", "ticks"), row, strict=True))
        for name, row in counts.items()
    }
    sizes = {"episodes": info["total_episodes"], "ticks": info["total_frames"]}
    answered({"out": out, "recorded": recorded, **sizes})


def run_score(config: Config) -> int:
    """`dualsys score`."""
    from dualsys.learning.score_planner import score_planner

    console = table_console()
    with console.status("thinking about recorded ticks"):
        report = score_planner(config)
    table = Table(title=f"{config['planner']} on {report['ticks']} recorded ticks")
    for name in (
        "question",
        "tokens right",
        "95% interval",
        "answers right",
        "blind guess",
        "balanced",
        "blind",
    ):
        table.add_column(name, justify="left" if name == "question" else "right", overflow="fold")
    for name, row in report["questions"].items():
        low, high = row["token_accuracy_ci95"]
        right, blind = percent(row["answer_accuracy"]), percent(row["most_frequent"])
        interval = f"{low:.1%} .. {high:.1%}"
        even, chance = percent(row["balanced_accuracy"]), percent(1 / row["answers_seen"])
        table.add_row(name, percent(row["token_accuracy"]), interval, right, blind, even, chance)
    console.print(table)
    depths = ", ".join(f"{error:.3f}" for error in report["candidate_rmse"])
    console.print(f"candidates' error by depth, in standard deviations of the action: {depths}")
    measured, nominal = report["bits_measured"], report["bits_nominal"]
    console.print(f"code: {measured:.1f} bits per message measured, {nominal:.0f} at most")
    console.print(f"written to {config['out']}", markup=False)
    answered(report)
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


def run_train_heads(config: Config) -> int:
    """`dualsys train heads`."""
    from dualsys.learning.fit_heads import fit_heads

    return _train(config, fit_heads)


def run_train_value(config: Config) -> int:
    """`dualsys train value`."""
    from dualsys.learning.fit_value import fit_value

    return _train(config, fit_value)


def run_train_instruct(config: Config) -> int:
    """`dualsys train instruct`."""
    from dualsys.learning.fit_instruct import fit_instruct

    return _train(config, fit_instruct)


def run_train_exits(config: Config) -> int:
    """`dualsys train exits`."""
    from dualsys.learning.fit_exits import fit_exits

    return _train(config, fit_exits)


def run_train_gate(config: Config) -> int:
    """`dualsys train gate`."""
    from dualsys.learning.fit_gate import FOLDS, fit_gate

    with progress_bar() as bar:
        task = bar.add_task("cross-validation", total=FOLDS, note="")
        folder = fit_gate(config, lambda done: bar.update(task, completed=done))
    table_console().print(f"gate written to {folder}")
    answered({"out": str(folder)})
    return 0


def _train(config: Config, fit: Fit) -> int:
    if config["ray_address"]:
        return _train_on_ray(config, fit)
    newest: dict[str, float] = {}
    with progress_bar() as bar:
        task = bar.add_task("steps", total=config["steps"], note="")

        def progress(step: int, parts: dict[str, float]) -> None:
            newest.update(parts)
            note = " ".join(f"{name} {value:.3f}" for name, value in parts.items())
            bar.update(task, completed=step, note=note)

        folder = fit(config, progress)
    table_console().print(f"checkpoint written to {folder}")
    answered({"out": str(folder), "steps": config["steps"], "losses": newest})
    return 0


def _train_on_ray(config: Config, fit: Fit) -> int:
    """Train on a cluster; its machines have to see the same folders.

    One that dies is replaced once, and the training goes on from its last saved step.
    """
    from dualsys.workers import on_ray

    console = table_console()
    there = {**config, **{key: _shared(config[key]) for key in SHARED if config.get(key)}}
    where = there["out"] if "out" in there else there["planner"]
    told = f"training at {config['ray_address']}; its curve: tensorboard --logdir {where}"
    with console.status(told):
        work = partial(_fitted, fit)
        ((_, folder),) = on_ray(config["ray_address"], config["ray_gpus"])(work, [there], 1)
    console.print(f"checkpoint written to {folder}", markup=False)
    answered({"out": str(folder), "steps": config["steps"]})
    return 0


def _fitted(fit: Fit, config: Config) -> str:
    return str(fit(config, lambda step, parts: None))


def _shared(paths: Any) -> Any:
    """Folders under the names that they have on every machine."""
    if isinstance(paths, list):
        return [_shared(path) for path in paths]
    return str(Path(paths).resolve())
