"""Puts tables, figures and the player together into one HTML file that needs nothing else."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dualsys.bench.command import COLUMNS, cells
from dualsys.bench.summary import POOLED
from dualsys.console import percent
from dualsys.errors import DualsysError
from dualsys.report.sources import Source, read_source

TEMPLATE = Path(__file__).with_name("page.html")


def write_report(paths: Sequence[Path], out: Path, episodes: int) -> Path:
    """Write the page about the results at `paths` to `out`, with so many episodes per run.

    Raises `DualsysError` for results that are none, and without the library for figures.
    """
    try:
        from plotly.offline import get_plotlyjs

        from dualsys.report import figures, player
    except ImportError as error:
        raise DualsysError(f"a report needs plotly ({error}); pip install 'dualsys[report]'") from (
            error
        )
    sources = [read_source(path) for path in paths]
    sections: list[str] = []
    shown: dict[str, Any] = {}
    films: list[player.Episode] = []
    for number, source in enumerate(sources):
        made = {
            "bench": (figures.pareto, figures.delays, figures.bars),
            "run": (figures.latencies,),
            "calibration": (figures.reliability,),
            "values": (figures.values,),
        }[source.kind]
        drawn = {f"figure-{number}-{n}": make(source.content) for n, make in enumerate(made)}
        kept = {name: figure for name, figure in drawn.items() if figure is not None}
        shown |= {name: json.loads(figure.to_json()) for name, figure in kept.items()}
        sections.append(_section(source, kept))
        if source.kind == "run" and source.path.is_dir():
            films += player.episodes(source.path, source.content, episodes)
    page = TEMPLATE.read_text()
    for mark, text in (
        ("__ABOUT__", html.escape(_about(sources))),
        ("__SECTIONS__", "\n".join(sections)),
        ("__FIGURES__", _script(shown)),
        ("__EPISODES__", _script(msgspec.to_builtins(films))),
        ("__PLOTLY__", get_plotlyjs()),
    ):
        page = page.replace(mark, text, 1)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f"{out.name}.partial")
    partial.write_text(page)
    partial.replace(out)
    return out


def _script(content: Any) -> str:
    """JSON that can stand inside a script element, whatever words it holds."""
    return msgspec.json.encode(content).decode().replace("</", "<\\/")


def _about(sources: Iterable[Source]) -> str:
    told = []
    for source in sources:
        git = source.content.get("git", {})
        state = f"{git.get('commit', 'no commit')[:12]}{' (dirty)' if git.get('dirty') else ''}"
        machine = source.content.get("machine", {}).get("processor", "")
        told.append(f"{source.kind} {source.name}: {state} {machine}".strip())
    return "; ".join(told)


def _section(source: Source, shown: Iterable[str]) -> str:
    tables = {
        "bench": _bench_table,
        "run": _run_table,
        "calibration": _calibration_table,
        "values": _values_table,
    }
    places = "".join(f'<div id="{name}"></div>' for name in shown)
    table = tables[source.kind](source.content)
    return (
        f"<section><h2>{html.escape(f'{source.kind}: {source.name}')}</h2>{table}{places}</section>"
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _bench_table(bench: dict[str, Any]) -> str:
    first = next(iter(bench["measured"].values()))
    scenarios = sorted(first, key=lambda s: s != POOLED)
    return _table(COLUMNS, (cells(bench, n, s) for s in scenarios for n in bench["measured"]))


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
    def interval(row: dict[str, Any], name: str) -> str:
        low, high = row[f"{name}_ci95"]
        return f"{row[name]:.2f} ({low:.2f} .. {high:.2f})"

    return _table(
        ("scenario", "states", "rank correlation", "gain of the argmax", "beats a random pick"),
        (
            (
                name,
                str(row["states"]),
                *(interval(row, field) for field in ("spearman", "argmax_gain", "beats_random")),
            )
            for name, row in values["rankings"].items()
        ),
    )
