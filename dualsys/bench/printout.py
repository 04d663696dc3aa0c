"""The two tables of a benchmark, as text: what was measured, and what the pairs say."""

from __future__ import annotations

from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from dualsys.console import percent


class Printout(msgspec.Struct, frozen=True):
    """A table ready to be shown: on a terminal, in a document or on a page."""

    title: str
    columns: tuple[str, ...]
    named: int  # so many columns hold names, the others numbers
    rows: list[tuple[str, ...]]


MEASURED = (
    *("variant", "scenario", "success", "95% interval", "collisions", "95% interval"),
    *("score", "calls/min", "ticks with a call", "bits", "of them plan"),
)
APART = {"primary": "", "secondary": ", scenario by scenario"}
COMPARED = (
    *("variant", "against", "scenario"),
    *("gain of success", "collision gain", "fewer collisions by"),
)


def printouts(report: dict[str, Any], family: str = "primary") -> list[Printout]:
    """The tables of a bench.json about the groups of a family; none where it has no such family.

    The primary family holds the pools, the secondary one the single scenarios beside them.
    """
    lines, where = report["families"].get(family, []), APART[family]
    if not lines:
        return []
    measured, compared = report["measured"], report["compared"]
    found = [
        Printout(
            f"measured{where}",
            MEASURED,
            2,
            [_measured(name, group, measured[name][group]) for group in lines for name in measured],
        )
    ]
    if compared:
        rows = [_compared(name, group, compared[name]) for group in lines for name in compared]
        title = f"compared in pairs{where}; p after Holm's correction"
        found.append(Printout(title, COMPARED, 3, rows))
    return found


def _measured(name: str, group: str, row: dict[str, Any]) -> tuple[str, ...]:
    mean = row["mean"]
    return (
        name,
        group,
        percent(row["success_rate"]),
        interval(row["success_ci95"]),
        percent(row["collision_rate"]),
        interval(row["collision_ci95"]) if row["collision_rate"] is not None else "-",
        f"{mean['score']['value']:.3f}" if "score" in mean else "-",
        f"{mean['calls_per_minute']['value']:.1f}",
        percent(mean["calls_per_tick"]["value"]),
        f"{row['bits']:.1f}",
        f"{row['plan_bits']:.1f}",
    )


def _compared(name: str, group: str, compared: dict[str, Any]) -> tuple[str, ...]:
    cells = compared[group]
    return (
        name,
        compared["against"],
        group,
        gain(cells.get("success")),
        gain(cells.get("collision")),
        fewer(cells.get("collision")),
    )


def interval(ends: list[float]) -> str:
    """The ends of an interval of shares."""
    return f"{ends[0]:.1%} .. {ends[1]:.1%}"


def gain(difference: dict[str, Any] | None) -> str:
    """A paired difference in words; "-" where no pair of episodes came to its end."""
    if difference is None:
        return "-"
    low, high = difference["ci95"]
    text = f"{difference['mean']:+.1%} ({low:+.1%} .. {high:+.1%})"
    if not difference["shown"]:
        return f"{text}, no difference shown"
    return f"{text}, p {difference['p_holm']:.3f}"


def fewer(collision: dict[str, Any] | None) -> str:
    """By which share collisions are fewer; "-" where there were none to save."""
    if collision is None or "fewer" not in collision:
        return "-"
    ends = collision["fewer_ci95"]
    told = "too few for an interval" if ends is None else interval(ends)
    return f"{collision['fewer']:.1%} ({told})"


def show(report: dict[str, Any], console: Console, markdown: bool = False) -> None:
    """Print the tables: of the pools for a terminal, all of them as Markdown."""
    apart = printouts(report, "secondary")
    for printout in [*printouts(report), *(apart if markdown else [])]:
        if markdown:
            rule = ("---",) * len(printout.columns)
            for line in (printout.columns, rule, *printout.rows):
                text = f"| {' | '.join(line)} |"
                console.print(text, soft_wrap=True, markup=False, highlight=False)
            console.print()
            continue
        table = Table(title=printout.title)
        for number, name in enumerate(printout.columns):
            named = number < printout.named
            table.add_column(name, justify="left" if named else "right", no_wrap=named)
        for line in printout.rows:
            table.add_row(*line)
        console.print(table)
    if apart and not markdown:
        console.print("scenario by scenario: with --markdown, or by `dualsys report`")
