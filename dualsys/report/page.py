"""Puts tables, figures and the player together into one HTML file that needs nothing else."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dualsys.errors import DualsysError
from dualsys.report.sources import Source, read_source
from dualsys.report.tables import TABLES

TEMPLATE = Path(__file__).with_name("page.html")


def write_report(paths: Sequence[Path], out: Path, episodes: int) -> Path:
    """Write the page about the results at `paths` to `out`, with so many episodes per run.

    Raises `DualsysError` for results that are none, and without the library for figures.
    """
    try:
        from plotly.offline import get_plotlyjs

        from dualsys.report import player
    except ImportError as error:
        raise DualsysError(f"a report needs plotly ({error}); pip install 'dualsys[report]'") from (
            error
        )
    sources = [read_source(path) for path in paths]
    sections: list[str] = []
    shown: dict[str, Any] = {}
    films: list[player.Episode] = []
    for number, source in enumerate(sources):
        kept = {f"figure-{number}-{n}": drawn for n, drawn in enumerate(figures_of(source))}
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


def figures_of(source: Source, wanted: Sequence[str] = ()) -> list[Any]:
    """The plotly figures that a source has something to show in; only those `wanted`, if any are.

    They are named as the functions of `dualsys.report.figures`.
    """
    from dualsys.report import figures

    made = {
        "bench": figures.OF_A_BENCHMARK,
        "run": (figures.latencies,),
        "calibration": (figures.reliability,),
        "values": (figures.values,),
        "calls": (),
    }[source.kind]
    drawn = (make(source.content) for make in made if not wanted or make.__name__ in wanted)
    return [figure for figure in drawn if figure is not None]


def _script(content: Any) -> str:
    """JSON that can stand inside a script element, whatever words it holds."""
    return msgspec.json.encode(content).decode().replace("</", "<\\/")


def _about(sources: Iterable[Source]) -> str:
    told = []
    for source in sources:
        content = {**source.content, **source.content.get("about", {})}  # trials say it there
        git = content.get("git", {})
        state = f"{git.get('commit', 'no commit')[:12]}{' (dirty)' if git.get('dirty') else ''}"
        machine = content.get("machine", {}).get("processor", "")
        told.append(f"{source.kind} {source.name}: {state} {machine}".strip())
    return "; ".join(told)


def _section(source: Source, shown: Iterable[str]) -> str:
    places = "".join(f'<div id="{name}"></div>' for name in shown)
    title = html.escape(f"{source.kind}: {source.name}")
    table = TABLES[source.kind](source.content)
    return f"<section><h2>{title}</h2>{_warning(source.content)}{table}{places}</section>"


def _warning(content: dict[str, Any]) -> str:
    """What is missing of a run that ended early."""
    if content.get("complete", True):
        return ""
    asked = content.get("episodes_asked", "an unknown number")
    told = f"incomplete: {len(content['episodes'])} of {asked} episodes"
    return f'<p class="incomplete">{html.escape(told)}</p>'
