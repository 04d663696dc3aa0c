"""What the commands about engines do with their composed configuration: progress, run, table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.progress import TaskID
from rich.table import Table

from dualsys.console import answered, progress_bar, table_console
from dualsys.environment import cache_folder

Config = dict[str, Any]


def run_build(config: Config) -> int:
    """`dualsys build`. Exit code 1 when no engine but torch is usable."""
    from dualsys.bench.building import build, check, looks

    check(config)
    names = list(config["engine"]["names"])
    total = len(names) * (2 if looks(config) else 1)
    with progress_bar() as bar:
        task = bar.add_task("engines", total=total, note="")
        loops: dict[str, TaskID] = {}
        begun: list[str] = []

        def progress(name: str) -> None:
            begun.append(name)
            bar.update(task, completed=len(begun) - 1, note=name)

        def episodes(variant: str, count: int, of: int) -> None:
            if variant not in loops:
                bar.update(task, completed=total, note="")
                loops[variant] = bar.add_task(f"episodes, {variant}", total=of, note="")
            bar.update(loops[variant], advance=count)

        report = build(config, progress, episodes)
        bar.update(task, completed=total, note="")
    show_build(report)
    console = table_console()
    kept = cache_folder() / "engines" / report["folder"]
    console.print(f"kept in {kept}", markup=False, soft_wrap=True)
    console.print(f"written to {Path(config['out']) / 'build.json'}", markup=False, soft_wrap=True)
    answered(report)
    usable = [name for name, row in report["engines"].items() if row["refused"] is None]
    return 0 if set(usable) - {"torch"} else 1


def show_build(report: dict[str, Any]) -> None:
    """Print one row per engine, then why the others are not used."""
    console = table_console()
    known = [row["axes"] for row in report["engines"].values() if "axes" in row]
    axes: dict[str, Any] = known[0] if known else {}
    against = "compared with torch on" if "against" not in report["checked_on"] else "compared on"
    table = Table(title=f"{against} {report['checked_on']}")
    table.add_column("engine", overflow="fold")
    for name in ("computes in", escape("built [s]"), "MB", "least cosine", "error, share of RMS"):
        table.add_column(name, justify="right")
    for name, axis in axes.items():
        table.add_column(escape(f"{name} [{axis['unit']}]"), justify="right")
    table.add_column("")
    for name, row in report["engines"].items():
        table.add_row(name, *_cells(row, len(axes)))
    console.print(table)
    for name, row in report["engines"].items():
        if row["refused"] is not None:
            console.print(f"{name}: {row['refused']}", markup=False, soft_wrap=True)
    if parts := report["system2"]:
        _show_parts(parts)
    if loop := report["closed_loop"]:
        _show_loop(loop)


def _show_parts(found: dict[str, Any]) -> None:
    """Print one row per engine and part of System 2."""
    table = Table(title=f"System 2's parts, compared with torch on {found['checked_on']}")
    for name in ("engine", "part"):
        table.add_column(name, overflow="fold")
    for name in ("computes in", escape("built [s]"), "MB", "least cosine", "error, share of RMS"):
        table.add_column(name, justify="right")
    table.add_column("")
    why: dict[str, str] = {}
    for engine, parts in found["engines"].items():
        for part, row in parts.items():
            table.add_row(engine, part, *_cells(row, 0))
            if row["refused"] is not None:
                why[engine] = f"{part}: {row['refused']}"
    console = table_console()
    console.print(table)
    for engine, reason in why.items():
        console.print(f"{engine}, {reason}", markup=False, soft_wrap=True)


def _cells(row: dict[str, Any], axes: int) -> list[str]:
    built = "" if row["built_s"] is None else f"{row['built_s']:.1f}"
    size = "" if row["size_bytes"] is None else f"{row['size_bytes'] / 1e6:.1f}"
    first = [row["precision"] or "", built, size]
    if "outputs" not in row:
        return [*first, *[""] * (2 + axes), "refused"]
    found = row["outputs"].values()
    worst = min(o["cosine"] for o in found), max(o["relative_error"] for o in found)
    errors = [f"{axis['error']:.1e}" for axis in row.get("axes", {}).values()]
    verdict = "usable" if row["refused"] is None else "refused"
    return [*first, f"{worst[0]:.6f}", f"{worst[1]:.1e}", *errors, verdict]


def _show_loop(loop: dict[str, Any]) -> None:
    title = f"closed loop, suite {loop['suite']}, {loop['episodes']} episodes on the same seeds"
    table = Table(title=title)
    for name in ("engine", "success", "difference to torch", "95% interval"):
        table.add_column(name, justify="left" if name == "engine" else "right", overflow="fold")
    for name, rate in loop["success"].items():
        found = loop["compared"].get(name)
        told = ("", "") if found is None else _difference(found)
        table.add_row(name, f"{rate:.1%}", *told)
    table_console().print(table)


def _difference(found: dict[str, Any]) -> tuple[str, str]:
    low, high = found["ci95"]
    return f"{found['mean']:+.1%}", f"{low:+.1%} .. {high:+.1%}"


def run_bench_engine(config: Config) -> int:
    """`dualsys bench-engine`."""
    from dualsys.bench import depth_bench
    from dualsys.bench.engine_bench import bench_engines, bench_planners, check, draw

    check(config)
    planners, depth = bool(config["planners"]), config["depth"]
    bench = bench_planners if planners else depth_bench.bench_depth if depth else bench_engines
    with progress_bar() as bar:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, rounds: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=rounds, note="")
            bar.update(tasks[what], advance=1)

        report = bench(config, progress)
    if planners:
        for found in report["planners"]:
            show_planner(found)
        table_console().print(f"written to {config['out']}: planners.json", markup=False)
        answered(report)
        return 0
    for table in report["tables"]:
        if depth:
            show_depth(table)
        else:
            show_times(table, f"{table['samples']} sample(s)")
    for table in report.get("system2", []):
        show_times(table, f"System 2, {table['samples']} candidate(s)")
    out, name = Path(config["out"]), "depth" if depth else "engines"
    (depth_bench.draw if depth else draw)(report, out / f"{name}.png")
    table_console().print(f"written to {out}: {name}.json, {name}.png", markup=False)
    answered(report)
    return 0


def show_depth(found: dict[str, Any]) -> None:
    """Print one row per engine and effort."""
    console = table_console()
    table = Table(
        title=f"{found['threads']} thread(s), {found['samples']} sample(s), {found['inputs']}"
    )
    for name in ("engine", "steps x blocks"):
        table.add_column(name, overflow="fold")
    errors = ("off the true flow [std]", "median", "worst", "off its own [std]")
    for name in ("pass p50 [ms]", "p99", *errors):
        table.add_column(escape(name), justify="right")
    for engine, rows in found["engines"].items():
        for effort, row in rows.items():
            times = (f"{row['pass'][key]:.2f}" for key in ("p50_ms", "p99_ms"))
            off = (*row["to_true"].values(), row["to_own"]["rms"])
            table.add_row(engine, effort, *times, *(f"{error:.4f}" for error in off))
    console.print(table)
    told = {**found["refused"], "early exits": found["no_exits"]}
    for name, why in told.items():
        if why:
            console.print(f"{name}: {why}", markup=False, soft_wrap=True)
    console.print(
        f"machine stalls meanwhile: {found['stalls']}, the longest {found['longest_stall_ms']:.0f} "
        "ms",
        highlight=False,
    )


def show_times(found: dict[str, Any], of: str) -> None:
    """Print one row per engine and part of the pass."""
    console = table_console()
    title = f"{found['threads']} thread(s), {of}, {found['inputs']}"
    table = Table(title=title)
    for name in ("engine", "computes in", "what"):
        table.add_column(name, overflow="fold")
    for name in ("p50 [ms]", "p95", "p99", "p99.9", "p99 outside stalls", "times faster"):
        table.add_column(escape(name), justify="right")
    for engine, rows in found["engines"].items():
        for what, row in rows.items():
            told = (row[f"{key}_ms"] for key in ("p50", "p95", "p99", "p999"))
            outside = row["p99_outside_stalls_ms"]
            low, high = row["times_faster_ci95"]
            table.add_row(
                engine,
                found["precision"][engine],
                what,
                *(f"{value:.2f}" for value in told),
                "" if outside is None else f"{outside:.2f}",
                f"{row['times_faster']:.2f} ({low:.2f} .. {high:.2f})",
            )
    console.print(table)
    console.print(
        f"machine stalls meanwhile: {found['stalls']}, the longest {found['longest_stall_ms']:.0f} "
        "ms",
        highlight=False,
    )
    for name, why in found["refused"].items():
        console.print(f"{name}: {why}", markup=False, soft_wrap=True)


def show_planner(found: dict[str, Any]) -> None:
    """Print one row per stage and mode of a planner."""
    console = table_console()
    table = Table(
        title=f"{found['planner']}, {found['parameters'] / 1e6:.0f} M random weights in "
        f"{found['computes_in']} on {found['device']}, {found['prompt_tokens']} tokens"
    )
    for name in ("stage", "mode"):
        table.add_column(name, overflow="fold")
    for name in ("p50 [ms]", "p95", "p99 outside stalls", "times faster"):
        table.add_column(escape(name), justify="right")
    for stage, modes in found["stages"].items():
        for mode, row in modes.items():
            outside = row["p99_outside_stalls_ms"]
            table.add_row(
                stage,
                mode,
                f"{row['p50_ms']:.2f}",
                f"{row['p95_ms']:.2f}",
                "" if outside is None else f"{outside:.2f}",
                f"{row['times_faster']:.2f}",
            )
    console.print(table)
    console.print(
        f"five candidates over one: {found['five_over_one']:.2f}; "
        f"prefix {found['prefix_hz']:.2f} Hz",
        highlight=False,
    )
    for what, why in found["refused"].items():
        console.print(f"{what}: {why}", markup=False, soft_wrap=True)
