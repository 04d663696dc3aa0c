"""`dualsys bench`: from the command line's words to the tables on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dualsys.bench.run import bench
from dualsys.bench.store import read_header
from dualsys.bench.summary import POOLED
from dualsys.bench.table import load_table
from dualsys.config import load, parse_seeds
from dualsys.console import percent, progress_bar, table_console
from dualsys.errors import DualsysError

OWN_KEYS = (
    *("table", "variants", "ray_address"),
    *("suite", "scenario", "seeds", "workers", "out", "videos"),
)
RESUME, MARKDOWN = "--resume", "--markdown"


def run_bench(words: list[str]) -> int:
    """Run or go on running a benchmark and print its tables.

    With `--resume out=DIR` the words are those that began it; `--markdown` prints for a document.
    """
    markdown, words = MARKDOWN in words, [word for word in words if word != MARKDOWN]
    if RESUME in words:
        words = resumed([word for word in words if word != RESUME])
    config = load("bench", words)
    from sim import registry

    scenarios = registry.chosen(config["scenario"], config["suite"])
    seeds = parse_seeds(config["seeds"])
    variants = load_table(config["table"], config["variants"])
    if config["workers"] < 1:
        raise DualsysError(f"workers={config['workers']}: at least one worker is needed")
    with progress_bar() as bar:
        total = len(scenarios) * len(seeds)
        tasks = {name: bar.add_task(name, total=total, note="") for name in variants}
        report = bench(
            words,
            shared_words(words),
            variants,
            scenarios,
            seeds,
            Path(config["out"]),
            config["workers"],
            config["ray_address"],
            lambda name, count: bar.update(tasks[name], advance=count),
        )
    show(report, table_console(), markdown)
    return 0


def resumed(words: list[str]) -> list[str]:
    """The words that began the benchmark in out=DIR, with out= and workers= as given now."""
    given = dict(word.partition("=")[::2] for word in words)
    if set(given) - {"out", "workers", "ray_address"} or "out" not in given:
        raise DualsysError(f"{RESUME} takes out=DIR, and workers= or ray_address= if they change")
    before: list[str] = read_header(Path(given["out"]))["command"]
    kept = [word for word in before if word.partition("=")[0] not in given]
    return [*kept, *words]


def shared_words(words: list[str]) -> list[str]:
    """The overrides of `dualsys eval` among the words of a benchmark."""
    return [word for word in words if word.lstrip("+~").partition("=")[0].split(".")[0] not in
            OWN_KEYS]  # fmt: skip


COLUMNS = (
    "variant",
    "scenario",
    "success",
    "95% interval",
    "collisions",
    "score",
    "calls/min",
    "bits",
    "against",
    "gain of success",
)


def cells(report: dict[str, Any], name: str, scenario: str) -> tuple[str, ...]:
    """One line of the table."""
    row = report["measured"][name][scenario]
    compared = report["compared"].get(name, {})
    low, high = row["success_ci95"]
    score = row["mean"].get("score")
    return (
        name,
        scenario,
        percent(row["success_rate"]),
        f"{low:.1%} .. {high:.1%}",
        percent(row["collision_rate"]),
        f"{score['value']:.3f}" if score else "-",
        f"{row['mean']['calls_per_minute']['value']:.1f}",
        f"{row['bits']:.1f}",
        compared.get("against", ""),
        gain(compared[scenario].get("success")) if compared else "",
    )


def gain(difference: dict[str, Any] | None) -> str:
    """A paired difference in words; "-" where no pair of episodes came to its end."""
    if difference is None:
        return "-"
    low, high = difference["ci95"]
    text = f"{difference['mean']:+.1%} ({low:+.1%} .. {high:+.1%})"
    if not difference["shown"]:
        return f"{text}, no difference shown"
    if difference["p_holm"] >= 0.05:
        return f"{text}, not shown among so many comparisons (p {difference['p_holm']:.2f})"
    return f"{text}, p {difference['p_holm']:.3f}"


def show(report: dict[str, Any], console: Console, markdown: bool = False) -> None:
    """Print one line per variant and scenario: pooled first where there are several."""
    lines = [
        cells(report, name, scenario)
        for scenario in sorted(next(iter(report["measured"].values())), key=lambda s: s != POOLED)
        for name in report["measured"]
    ]
    if markdown:
        for line in (COLUMNS, ("---",) * len(COLUMNS), *lines):
            console.print(f"| {' | '.join(line)} |", soft_wrap=True, markup=False, highlight=False)
        return
    table = Table(title="variants, paired by seed")
    for name in COLUMNS:
        left = name in ("variant", "scenario", "against", "gain of success")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    console.print(table)
