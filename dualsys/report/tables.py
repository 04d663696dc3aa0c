"""The tables of a report as HTML, by the kind of their source; every cell is escaped."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dualsys.bench.printout import printouts
from dualsys.console import percent, ranged
from dualsys.errors import DualsysError
from dualsys.whatif.verdicts import COLUMNS, MARGIN, Gain, verdicts


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(text: str) -> str:
    """A cell of a table, in which no line ends within an interval."""
    return f"<td>{html.escape(text).replace(' .. ', '&nbsp;..&nbsp;')}</td>"


def _bench_table(bench: dict[str, Any]) -> str:
    def tables(family: str) -> str:
        return "".join(
            f"<h3>{html.escape(printout.title)}</h3>{_table(printout.columns, printout.rows)}"
            for printout in printouts(bench, family)
        )

    apart = tables("secondary")
    folded = f"<details><summary>scenario by scenario</summary>{apart}</details>" if apart else ""
    return tables("primary") + folded


def _run_table(run: dict[str, Any]) -> str:
    rows = {**run["summary"]["by_scenario"], "all": run["summary"]}
    return _table(
        ("scenario", "episodes", "success", "95% interval", "collisions", "calls", "jerk", "seam"),
        (
            (
                name,
                str(row["episodes"]),
                percent(row["success_rate"]),
                "{:.1%} .. {:.1%}".format(*row["success_ci95"]),
                percent(row["collision_rate"]),
                f"{row['calls_per_episode']:.1f}",
                f"{row['mean_jerk']:.4f}",
                f"{row['mean_seam_jump']:.4f}",
            )
            for name, row in rows.items()
        ),
    )


def _calibration_table(calibration: dict[str, Any]) -> str:
    rows = calibration["foretelling"]["auroc"].items()
    auroc = _table(
        ("measure", "AUROC", "95% interval"),
        ((name, _number(r["auroc"]), " .. ".join(map(_number, r["ci95"]))) for name, r in rows),
    )
    if not calibration["coverage"]:
        return auroc
    levels = [f"{level:.0%}" for level, _ in calibration["coverage"]["as_trained"]]
    covered = (
        (name.replace("_", " "), *(f"{share:.1%}" for _, share in calibration["coverage"][name]))
        for name in ("as_trained", "corrected")
    )
    return auroc + _table(("Laplace intervals", *levels), covered)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _values_table(values: dict[str, Any]) -> str:
    return _table(
        ("scenario", "states", "rank correlation", "gain of the argmax", "beats a random pick"),
        (
            (
                name,
                str(row["states"]),
                *(
                    ranged(row[field], row[f"{field}_ci95"], ".2f")
                    for field in ("spearman", "argmax_gain", "beats_random")
                ),
            )
            for name, row in values["rankings"].items()
        ),
    )


def _calls_table(trials: dict[str, Any]) -> str:
    """Of the calls that the runs made; places that were tried for training are left out."""
    gains = [
        Gain(trial["scenario"], trial["seed"], trial["called_for"] - trial["without"])
        for trial in trials["trials"]
        if trial["called"]
    ]
    if not gains:
        raise DualsysError(
            "these trials hold no call that a run made; make them with launch/try_calls.py --calls"
        )
    told = (
        f"useful or harmful: the score with the call is over {MARGIN} higher or lower; intervals "
        "are over whole drives"
    )
    table = _table(COLUMNS, (verdict.cells for verdict in verdicts(gains)))
    return f"<p>{html.escape(told)}</p>{table}"


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "bench": _bench_table,
    "run": _run_table,
    "calibration": _calibration_table,
    "values": _values_table,
    "calls": _calls_table,
}
"""Kind of source -> its tables."""
