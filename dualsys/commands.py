"""What each command does with its composed configuration: progress, run, table.

The commands that make data and models stand in `dualsys.commands_learning`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dualsys import commands_engines as engines
from dualsys import commands_learning as learning
from dualsys.config import parse_seeds
from dualsys.console import StatusLines, answered, percent, progress_bar, table_console
from dualsys.errors import DualsysError

Config = dict[str, Any]


def run_eval(config: Config) -> int:
    """`dualsys eval` and `dualsys run`."""
    from dualsys.bench.evaluate import evaluate
    from dualsys.runtime.results import JobResult
    from sim import registry

    scenarios = registry.chosen(config["scenario"], config["suite"])
    seeds = parse_seeds(config["seeds"])
    if config["runtime"]["name"] == "realtime":
        return _run_realtime(config, scenarios, seeds)
    if config["view"]["how"]:
        raise DualsysError(
            f"view={config['view']['name']} shows realtime runs as they go on, this one is in "
            f"virtual time; show it afterwards: dualsys view {config['out']}"
        )
    done = good = 0
    with progress_bar() as bar:
        task = bar.add_task("episodes", total=len(seeds) * len(scenarios), note="")

        def progress(result: JobResult) -> None:
            nonlocal done, good
            done += len(result.rows)
            good += sum(row["success"] for row in result.rows)
            bar.update(task, advance=len(result.rows), note=f"success {good}/{done}")

        results = evaluate(config, scenarios, seeds, progress)
    show_results(results, table_console())
    _film(results)
    answered(results)
    return 0


def _run_realtime(config: Config, scenarios: list[str], seeds: list[int]) -> int:
    from dualsys.runtime.live_status import LiveStatus
    from dualsys.runtime.realtime import realtime
    from dualsys.view.beside import viewed

    for scenario in scenarios:
        out = config["out"] if len(scenarios) == 1 else f"{config['out']}/{scenario}"
        status = LiveStatus()
        taken = config["supervisor"]["processes"]["system1"]["cores"]
        with viewed(config["view"]["how"], Path(out), taken), StatusLines() as lines:

            def lives(health: Any, status: LiveStatus = status, lines: Any = lines) -> None:
                status.take(health)
                lines.show(status.told(health.stamp.time_ns))

            results = realtime({**config, "out": out}, scenario, seeds, lives=lives)
        show_results(results, table_console())
        _film(results)
        answered(results)
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
        # In a narrow terminal names are folded and intervals broken in two: all stays readable.
        table.add_column(name, justify="left" if name == "scenario" else "right", overflow="fold")
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
        f"shield {results['shield'] or 'never intervened'}" + _switched_off(results),
        highlight=False,
    )
    console.print(f"rungs {results['rungs']}", highlight=False)
    for line in _processes(results.get("processes", {})):
        console.print(line, highlight=False)
    if "link" in results:
        console.print(_link(results["link"]), highlight=False)
    alone = results["guidance"]
    silence = alone.get("silent_for_s")
    console.print(
        f"guidance: oldest in use {alone['oldest_s']:.2f} s, System 1 alone in "
        f"{alone['ticks_alone']} of {alone['ticks']} ticks"
        + (f", last answer {silence:.2f} s before the end" if silence is not None else ""),
        highlight=False,
    )
    console.print(f"written to {results['config']['out']}: results.json, log.mcap")


def _processes(processes: dict[str, Any]) -> list[str]:
    """What the supervisor had to do, and which rights each process really has."""
    lines = []
    for name, told in processes.items():
        again = [f"started again {told['restarts']} times"] if told["restarts"] else []
        given_up = [told["given_up"]] if "given_up" in told else []
        rights = [f"{right}: {got}" for right, got in told["rights"].items()]
        if again or given_up or rights:
            lines.append(f"{name}: {'; '.join([*again, *given_up, *rights])}")
    return lines


def _link(told: Config) -> str:
    """How the link to a System 2 elsewhere did."""
    trip, who = told["round_trip"], told["served_by"]
    if not who:
        return "link: System 2 never answered"
    times = ", ".join(f"{name[:-3]} {ms:.1f}" for name, ms in trip.items())
    return (
        f"link: System 2 {who['name']} (dualsys {who['dualsys']}) answered {told['answered']} of "
        f"{told['introductions']} signs of life; round trip [ms] {times}"
    )


def _switched_off(results: dict[str, Any]) -> str:
    off = [limit for limit, on in results["config"]["shield"].items() if on is False]
    return f", switched off: {', '.join(off)}" if off else ""


def run_thoughts(config: Config) -> int:
    """`dualsys thoughts`."""
    from dualsys.show_thoughts import (
        contents_of,
        explain,
        list_thoughts,
        newest_at,
        save_images,
        stories_of,
    )

    console = table_console()
    spec, stories = stories_of(Path(config["run"]), config["epoch"])
    if config["tick"] < 0:
        list_thoughts(stories, spec.plans, console)
        answered([contents_of(story, spec) for story in stories])
        return 0
    story = newest_at(stories, config["tick"])
    explain(story, spec, console)
    answered(contents_of(story, spec))
    if config["images"]:
        for path in save_images(story, Path(config["images"])):
            console.print(f"seen: {path}", markup=False)
    return 0


def run_report(config: Config) -> int:
    """`dualsys report`."""
    from dualsys.report.page import write_report

    if not config["of"]:
        raise DualsysError(
            "report what? give folders of runs or benchmarks: dualsys report DIR ..."
        )
    page = write_report([Path(p) for p in config["of"]], Path(config["out"]), config["episodes"])
    table_console().print(f"written to {page}", markup=False, soft_wrap=True)
    answered({"page": str(page)})
    return 0


def run_calibrate(config: Config) -> int:
    """`dualsys calibrate`."""
    from dualsys.runtime.calibration import calibrate

    report, console = calibrate(config), table_console()
    found = report["foretelling"]
    console.print(
        f"foretold is {found['bad']}: of {found['ticks']} ticks, {found['bad_ticks']} are bad",
        highlight=False,
    )
    table = Table(title="how well bad ticks are foretold")
    for name in ("measure", "AUROC", "95% interval"):
        table.add_column(name, justify="left" if name == "measure" else "right")
    for name, row in found["auroc"].items():
        table.add_row(name, f"{row['auroc']:.3f}", "{:.3f} .. {:.3f}".format(*row["ci95"]))
    console.print(table)
    gate = (
        f"trigger.hysteresis={report['hysteresis']} trigger.refractory_s={report['refractory_s']}"
    )
    limits = Table(title=f"thresholds, and calls with {gate}")
    for name in ("share of ticks above", "calls per tick", "trigger.threshold [nat]"):
        limits.add_column(name, justify="right")
    for row in report["thresholds"]:
        cells = (percent(row["share_of_ticks"]), f"{row['calls_per_tick']:.4f}")
        limits.add_row(*cells, f"{row['threshold']:.3f}")
    console.print(limits)
    for name in ("as_trained", "corrected") if report["coverage"] else ():
        said = ", ".join(f"{level:.0%}: {share:.1%}" for level, share in report["coverage"][name])
        console.print(f"Laplace intervals {name.replace('_', ' ')}: {said}", highlight=False)
    cost = report["cost"]
    console.print(
        f"inside the tick ({cost['engine']}): {cost['samples_ms']:.2f} ms with {cost['samples']} "
        f"samples, {cost['one_sample_ms']:.2f} ms with one (x {cost['ratio']:.2f}), the decision "
        f"{1e3 * cost['decision_ms']:.1f} us",
        highlight=False,
    )
    answered(report)
    return 0


def show_help(command: str) -> None:
    """Print the keys of a command with their defaults, and the choices of every group."""
    from dualsys.config import choices_of, defaults
    from dualsys.schemas import COMMANDS

    console = table_console()
    usage = f"usage: dualsys {command} [key=value ...] [--json]   (-m sweeps over a,b,c)\n"
    console.print(usage, markup=False, highlight=False)
    groups = Table(title="groups", title_justify="left", box=None)
    groups.add_column("group=")
    groups.add_column("choices")
    for name, choices in choices_of(command).items():
        groups.add_row(name, ", ".join(choices))
    if groups.row_count:
        console.print(groups)
    if "scenario" in COMMANDS[command].__dataclass_fields__:
        from sim import registry

        console.print(f"\nscenario= one of {', '.join(registry.scenarios())}", highlight=False)
        console.print(f"suite= one of {', '.join(registry.SUITES)}", highlight=False)
    console.print("\nkeys and defaults (??? has to be given):")
    console.print(defaults(command), markup=False, highlight=False)


def run_doctor(config: Config) -> int:
    """`dualsys doctor`."""
    from dualsys.doctor import command

    return command.run_doctor(config)


def run_keys(config: Config) -> int:
    """`dualsys keys`."""
    from dualsys.keys import make_keys

    console, folder = table_console(), Path(config["out"])
    made = make_keys(folder, config["clients"])
    for path in made:
        console.print(f"made {path}", highlight=False)
    console.print(
        f"{folder}: carry clients/NAME to the machine of NAME; start System 2 with "
        f"link.server_keys={folder}, System 1 with link.client_keys=.../clients/NAME"
        if made
        else f"{folder} holds all of these keys already",
        highlight=False,
    )
    answered({"out": str(folder), "made": [str(path) for path in made]})
    return 0


def run_serve_system2(config: Config) -> int:
    """`dualsys serve system2`: until it is interrupted."""
    from dualsys.runtime.service import serve

    serve(config)
    return 0


def run_serve_openpi(config: Config) -> int:
    """`dualsys serve openpi`: until it is interrupted."""
    from dualsys.interop.openpi_server import serve_openpi

    serve_openpi(config)
    return 0


def run_serve_groot(config: Config) -> int:
    """`dualsys serve gr00t`: until it is interrupted."""
    from dualsys.interop.groot_server import serve_groot

    serve_groot(config)
    return 0


def run_replay(config: Config) -> int:
    """`dualsys replay`: 1 where an answer is further from the log's than the tolerance."""
    import msgspec

    from dualsys.runtime.replay import replay
    from dualsys.runtime.results import git_state, machine, versions

    log = Path(config["log"])
    log = log / "log.mcap" if log.is_dir() else log
    found = replay(log, config["system"], config["tolerance"], config["engines"])
    where = "" if found.first is None else f"; the first in {_where(found.first)}"
    table_console().print(
        f"{found.answers} answers of System {config['system']}: {found.equal} equal to the last "
        f"bit, the furthest {found.furthest:.3g} away, {found.beyond} further than "
        f"{config['tolerance']:g}{where}",
        highlight=False,
    )
    told = {**msgspec.to_builtins(found), "config": config, "versions": versions()}
    told |= {"git": git_state(), "machine": machine()}
    answered(told)
    if config["out"]:
        Path(config["out"]).parent.mkdir(parents=True, exist_ok=True)
        Path(config["out"]).write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=1))
    return 1 if found.beyond else 0


def run_view(config: Config) -> int:
    """`dualsys view`."""
    from dualsys.view.beside import require_rerun

    require_rerun()
    from dualsys.view.command import view

    shown = view(config)
    table_console().print(f"{shown['messages']} messages shown: {shown['in']}", markup=False)
    answered(shown)
    return 0


def _where(first: tuple[int, int, str]) -> str:
    epoch, tick, what = first
    return f"epoch {epoch}, tick {tick}: {what}"


RUN: dict[str, Callable[[Config], int]] = {
    "keys": run_keys,
    "serve system2": run_serve_system2,
    "serve openpi": run_serve_openpi,
    "serve gr00t": run_serve_groot,
    "replay": run_replay,
    "view": run_view,
    "eval": run_eval,
    "run": run_eval,
    "collect": learning.run_collect,
    "thoughts": run_thoughts,
    "calibrate": run_calibrate,
    "report": run_report,
    "doctor": run_doctor,
    "build": engines.run_build,
    "bench-engine": engines.run_bench_engine,
    "score": learning.run_score,
    "train system1": learning.run_train_system1,
    "train system2": learning.run_train_system2,
    "distill": learning.run_distill,
    "train heads": learning.run_train_heads,
    "train value": learning.run_train_value,
    "train instruct": learning.run_train_instruct,
    "train gate": learning.run_train_gate,
    "train exits": learning.run_train_exits,
}
