"""The tables of a benchmark, as text: rates, means of the measures, and what the pairs say."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dualsys.console import percent


class Printout(msgspec.Struct, frozen=True):
    """A table ready to be shown: on a terminal, in a document or on a page."""

    title: str
    columns: tuple[str, ...]
    named: int  # so many columns hold names, the others numbers
    rows: list[tuple[str, ...]]


INTERVAL = "95% interval"  # of the column before it
MEASURED = (
    *("variant", "scenario", "success", INTERVAL, "collisions", INTERVAL),
    *("score", "calls/min", "ticks with a call", "bits", "of them plan"),
)
APART = {"primary": "", "secondary": ", scenario by scenario"}
MEANS = {
    "score": ("score", ".3f"),
    "progress": ("progress", ".3f"),
    "ttc": ("time to collision", ".3f"),
    "comfort": ("comfort", ".3f"),
    "jerk": ("jerk", ".4f"),
    "seam_jump": ("seam jump", ".4f"),
    "plan_age_s": ("plan age [s]", ".2f"),
    "thinking_s": ("thinking [s]", ".2f"),
}
"""Measure of bench.json -> its column, and how its mean is written."""

COMPARED = (
    *("variant", "against", "scenario"),
    *("gain of success", "gain of score", "drives better", "drives worse"),
    *("collision gain", "fewer collisions by"),
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
    if family == "primary":
        found.append(_means(lines[0], measured))
    if compared:
        rows = [_compared(name, group, compared[name]) for group in lines for name in compared]
        title = f"compared in pairs{where}; p after Holm's correction"
        known = [n for n, cells in enumerate(zip(*rows, strict=True)) if {*cells} != {"-"}]
        always = range(COMPARED.index("gain of success") + 1)
        found.append(part(Printout(title, COMPARED, 3, rows), sorted({*always, *known})))
    return found


def part(printout: Printout, columns: Iterable[int]) -> Printout:
    """Some columns of a table; among them those that hold names."""
    chosen = list(columns)
    names = tuple(printout.columns[n] for n in chosen)
    rows = [tuple(row[n] for n in chosen) for row in printout.rows]
    return Printout(printout.title, names, printout.named, rows)


def _means(group: str, measured: dict[str, Any]) -> Printout:
    """Means of every variant over a pool, or over the only scenario; what none has is left out."""
    found = {name: rows[group]["mean"] for name, rows in measured.items()}
    kept = [measure for measure in MEANS if any(measure in mean for mean in found.values())]
    rows = [
        (name, *(_mean(mean.get(m), MEANS[m][1]) for m in kept)) for name, mean in found.items()
    ]
    title = f"means over {group}, with their 95% intervals"
    return Printout(title, ("variant", *(MEANS[m][0] for m in kept)), 1, rows)


def _mean(mean: dict[str, Any] | None, form: str) -> str:
    if mean is None:
        return "-"
    low, high = mean["ci95"]
    return f"{mean['value']:{form}} ({low:{form}} .. {high:{form}})"


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
        gain(cells.get("score"), "+.3f"),
        share(cells.get("score"), "better"),
        share(cells.get("score"), "worse"),
        gain(cells.get("collision")),
        fewer(cells.get("collision")),
    )


def interval(ends: list[float]) -> str:
    """The ends of an interval of shares."""
    return f"{ends[0]:.1%} .. {ends[1]:.1%}"


def gain(difference: dict[str, Any] | None, form: str = "+.1%") -> str:
    """A paired difference in words; "-" where no pair of episodes came to its end, or has it."""
    if difference is None:
        return "-"
    low, high = difference["ci95"]
    text = f"{difference['mean']:{form}} ({low:{form}} .. {high:{form}})"
    if not difference["shown"]:
        return f"{text}, no difference shown"
    p = difference["p_holm"]
    return f"{text}, p {p:.3f}" if p >= 0.001 else f"{text}, p < 0.001"


def share(score: dict[str, Any] | None, how: str) -> str:
    """Which share of the drives went "better" or "worse"; "-" where that was not asked.

    No drive has a score in manipulation, and benchmarks from before 2026-11-22 did not count.
    """
    if score is None or how not in score:
        return "-"
    return f"{score[how]:.1%} ({interval(score[f'{how}_ci95'])})"


def fewer(collision: dict[str, Any] | None) -> str:
    """By which share collisions are fewer; "-" where there were none to save."""
    if collision is None or "fewer" not in collision:
        return "-"
    ends = collision["fewer_ci95"]
    told = "too few for an interval" if ends is None else interval(ends)
    return f"{collision['fewer']:.1%} ({told})"


def fitting(printout: Printout, width: int) -> list[Printout]:
    """The table as tables no wider than a terminal, so that no cell has to be broken.

    Each begins with the names and holds as many numbers as there is room for, at least one; an
    interval stays with what it is of.
    """
    wide = _widths(printout)
    names = list(range(printout.named))
    units: list[list[int]] = []
    for number in range(printout.named, len(printout.columns)):
        if printout.columns[number] == INTERVAL:
            units[-1].append(number)
        else:
            units.append([number])
    tables: list[list[int]] = []
    for unit in units:
        if tables and sum(wide[n] for n in (*names, *tables[-1], *unit)) < width:
            tables[-1] += unit
        else:
            tables.append([*unit])
    return [part(printout, [*names, *numbers]) for numbers in tables]


def _widths(printout: Printout) -> list[int]:
    """Of every column, with its border and the blanks beside its cells; headers are broken."""
    columns = zip(printout.columns, *printout.rows, strict=True)
    lines = (
        (*head.split(), *(line for cell in cells for line in _broken(cell).split("\n")))
        for head, *cells in columns
    )
    return [3 + max(map(len, words)) for words in lines]


def _broken(cell: str) -> str:
    """What a difference says stands in a line below its interval."""
    return cell.replace("), ", ")\n").replace(" (too", "\n(too")


def _drawn(printout: Printout) -> Table:
    table = Table(title=printout.title)
    for number, (name, wide) in enumerate(zip(printout.columns, _widths(printout), strict=True)):
        named = number < printout.named
        head = Text("\n".join(textwrap.wrap(name, wide - 3)))  # no markup: "[s]" is a unit
        table.add_column(head, justify="left" if named else "right", overflow="fold")
    for line in printout.rows:
        table.add_row(*(Text(_broken(cell)) for cell in line))
    return table


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
        for narrow in fitting(printout, console.width):
            console.print(_drawn(narrow))
    if apart and not markdown:
        console.print("scenario by scenario: with --markdown, or by `dualsys report`")
