"""The figures of a report, as plotly figures; each is None where its source has nothing to show."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dualsys.bench.summary import POOLED

HEIGHT_PX = 380
DELAY = "delay [control ticks]"
LATE = re.compile(r"(System [12] late) by (\d+)(, .+)?")


def whole(bench: dict[str, Any], name: str) -> dict[str, Any]:
    """What was measured of a variant over all its scenarios."""
    rows: dict[str, Any] = bench["measured"][name]
    found: dict[str, Any] = rows.get(POOLED) or next(iter(rows.values()))
    return found


def rates_of(rows: list[dict[str, Any]], what: str = "success") -> dict[str, Any]:
    """Rates of `what` and their intervals, as plotly's y and error_y; none where nothing ended.

    `what` is "success" or "collision".
    """
    told = [row[f"{what}_rate"] for row in rows]
    rates = np.array([np.nan if rate is None else rate for rate in told], float)
    low, high = np.array([row[f"{what}_ci95"] for row in rows]).T
    away = {"type": "data", "array": high - rates, "arrayminus": rates - low}
    return {"y": rates, "error_y": away}


def pareto(bench: dict[str, Any], what: str = "success") -> go.Figure | None:
    """Success, or collisions, against calls; variants that differ in one number share a line."""
    figure = go.Figure()
    for line, names in _families(bench).items():
        calls = {n: whole(bench, n)["mean"]["calls_per_tick"]["value"] for n in names}
        names = sorted(names, key=lambda name: calls[name])
        figure.add_scatter(
            x=[calls[name] for name in names],
            **rates_of([whole(bench, name) for name in names], what),
            mode="lines+markers" if len(names) > 1 else "markers",
            name=line,
            text=names,
        )
    figure.update_xaxes(tickformat=".1%")
    title = "Success against calls" if what == "success" else "Collisions against calls"
    return _shaped(figure, title, "share of ticks with a call", f"{what} rate")


def collisions(bench: dict[str, Any]) -> go.Figure | None:
    """As `pareto`, of collisions; nothing where no world knows any."""
    known = (row["collision_rate"] for rows in bench["measured"].values() for row in rows.values())
    return pareto(bench, "collision") if any(known) else None


def bits(bench: dict[str, Any]) -> go.Figure | None:
    """Success against the bits of a message; a candidate chunk costs more than its message's."""
    told: dict[str, list[str]] = {}
    for name, config in bench["configurations"].items():
        planner = config["system2"]
        local = planner["name"] in ("vlm", "remote") and planner["checkpoint"]
        sends = local and planner["candidates"] > 0
        kind = "plan, code and a candidate chunk" if sends else "plan and code"
        told.setdefault(kind, []).append(name)
    if not any(whole(bench, name)["code_bits"] > 0 for names in told.values() for name in names):
        return None
    figure = go.Figure()
    for kind, names in told.items():
        rows = [whole(bench, name) for name in names]
        figure.add_scatter(
            x=[row["bits"] for row in rows],
            **rates_of(rows),
            mode="markers",
            name=kind,
            text=[f"{name}: plan {whole(bench, name)['plan_bits']:.1f} bit" for name in names],
        )
    x = "plan and code [bit per message]"
    return _shaped(figure, "Success against bits", x, "success rate")


def _families(bench: dict[str, Any]) -> dict[str, list[str]]:
    """Variants by their name up to " at NUMBER"."""
    found: dict[str, list[str]] = {}
    for name in bench["measured"]:
        if not LATE.fullmatch(name):
            found.setdefault(re.sub(r" at -?[\d.]+$", "", name), []).append(name)
    return found


def delays(bench: dict[str, Any]) -> go.Figure | None:
    """Success against the delay of each system."""
    figure = go.Figure()
    for name, (ticks, rows) in _late(bench).items():
        figure.add_scatter(x=ticks, **rates_of(rows), mode="lines+markers", name=name)
    return _shaped(figure, "Success against delay", DELAY, "success rate")


def roughness(bench: dict[str, Any]) -> go.Figure | None:
    """Seam jump and jerk against the delay of each system: does a late chunk join smoothly?"""
    figure = go.Figure()
    for late, (ticks, rows) in _late(bench).items():
        for measure, name in (("seam_jump", "seam jump"), ("jerk", "jerk")):
            means = [row["mean"][measure] for row in rows]
            value = np.array([mean["value"] for mean in means])
            low, high = np.array([mean["ci95"] for mean in means]).T
            figure.add_scatter(
                x=ticks,
                y=value,
                error_y={"type": "data", "array": high - value, "arrayminus": value - low},
                mode="lines+markers",
                name=f"{name}, {late}",
            )
    title = "Seam jump and jerk of the command against delay"
    return _shaped(figure, title, DELAY, "share of the axis' range")


def _late(bench: dict[str, Any]) -> dict[str, tuple[list[int], list[dict[str, Any]]]]:
    """Of each system, and of its settings, delays [ticks] and what was measured under them."""
    named: dict[str, list[tuple[int, str]]] = {}
    for name in bench["measured"]:
        if match := LATE.fullmatch(name):
            named.setdefault(match[1] + (match[3] or ""), []).append((int(match[2]), name))
    first = [(0, "no delay")] if "no delay" in bench["measured"] else []
    found = {}
    for late, members in named.items():
        points = [*first, *sorted(members)]
        found[late] = [ticks for ticks, _ in points], [whole(bench, name) for _, name in points]
    return found


def bars(bench: dict[str, Any]) -> go.Figure | None:
    """Success of every variant in every scenario, with Wilson intervals."""
    figure = go.Figure()
    for name, rows in bench["measured"].items():
        scenarios = [s for s in rows if s not in bench["pools"]]
        figure.add_bar(
            x=[s.split("/")[-1] for s in scenarios],
            **rates_of([rows[s] for s in scenarios]),
            name=name,
        )
    return _shaped(figure, "Success by scenario", "", "success rate")


OF_A_BENCHMARK = (pareto, collisions, delays, roughness, bits, bars)


def latencies(run: dict[str, Any]) -> go.Figure | None:
    """Percentiles of every stage's time and of the ages of a run."""
    stages = {**run["timing"], **{f"age: {k}": v for k, v in run["age"].items()}}
    stages = {name: values for name, values in stages.items() if values}
    if not stages:
        return None
    figure = go.Figure()
    for percentile in ("p50_ms", "p99_ms", "p999_ms", "max_ms"):
        figure.add_bar(
            x=list(stages),
            y=[values[percentile] for values in stages.values()],
            name=percentile.removesuffix("_ms"),
        )
    figure.update_yaxes(type="log")
    return _shaped(figure, "Latencies and ages", "", "time [ms]")


def reliability(calibration: dict[str, Any]) -> go.Figure | None:
    """How many ticks of like uncertainty are followed by a failure."""
    bins = calibration["reliability"]
    figure = go.Figure()
    figure.add_scatter(
        x=[b["uncertainty"] for b in bins],
        y=[b["failing"] for b in bins],
        mode="lines+markers",
        text=[f"{b['ticks']} ticks" for b in bins],
        name="share followed by a failure",
    )
    return _shaped(
        figure, "Reliability of the uncertainty", "uncertainty [nat]", "share that fails"
    )


def values(checked: dict[str, Any]) -> go.Figure | None:
    """Value against realised return, both within their state and in units of its spread."""
    figure = go.Figure()
    for scenario, pairs in checked["pairs"].items():
        told, came = (np.array([pair[i] for pair in pairs], float) for i in (0, 1))
        figure.add_scatter(
            x=_within(told).ravel(), y=_within(came).ravel(), mode="markers", name=scenario
        )
    return _shaped(
        figure,
        "Value against realised return of the candidates, within their state",
        "value [spreads]",
        "realised return [spreads]",
    )


def _within(rows: np.ndarray) -> np.ndarray:
    centred = rows - rows.mean(1, keepdims=True)
    scaled: np.ndarray = centred / max(float(centred.std()), 1e-9)
    return scaled


def _shaped(figure: go.Figure, title: str, x: str, y: str) -> go.Figure | None:
    if not figure.data:
        return None
    figure.update_layout(
        title=title,
        xaxis_title=x,
        yaxis_title=y,
        height=HEIGHT_PX,
        margin={"l": 60, "r": 20, "t": 50, "b": 50},
        template="plotly_white",
    )
    return figure
