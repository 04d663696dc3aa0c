"""What a benchmark's episodes come to: rates per scenario, and differences paired by seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from dualsys.runtime.results import summary
from dualsys.statistics import bootstrap, holm, paired
from dualsys.system2.coding import entropy_bits

if TYPE_CHECKING:
    from dualsys.bench.table import Variant

Rows = Mapping[tuple[str, int], dict[str, Any]]
POOLED = "all"

MEASURES: dict[str, Callable[[dict[str, Any]], float | bool | None]] = {
    # An episode that was cut off says nothing about how it would have ended.
    "success": lambda row: bool(row["success"]) if row["completed"] else None,
    "collision": lambda row: bool(row["collision"]) if row["completed"] else None,
    "score": lambda row: row["drive"].get("score"),
    "comfort": lambda row: row["drive"].get("comfort"),
    "progress": lambda row: row["drive"].get("progress"),
    "ttc": lambda row: row["drive"].get("ttc"),
    "return": lambda row: row["return"],
    "jerk": lambda row: row["jerk"],
    "seam_jump": lambda row: row["seam_jump"],
    "plan_age_s": lambda row: row["plan_age_s"],
    "calls_per_minute": lambda row: 60 * row["calls"] / row["duration_s"],
    "calls_per_tick": lambda row: row["calls"] / row["steps"],
    "thinking_s": lambda row: row["thinking_s"],  # per episode: the proxy of energy
}
COMPARED = ("success", "collision", "score")


def summarise(found: Mapping[str, Rows], variants: Mapping[str, Variant]) -> dict[str, Any]:
    """Measures of every variant per scenario and pooled, and its comparison, Holm-corrected.

    All comparisons of one measure are corrected together, over variants and scenarios.
    """
    report = {name: measured(rows) for name, rows in found.items()}
    compared: dict[str, dict[str, Any]] = {}
    for name, variant in variants.items():
        if variant.against:
            compared[name] = {
                "against": variant.against,
                **compare(found[name], found[variant.against]),
            }
    for measure in COMPARED:
        cells = [c[s][measure] for c in compared.values() for s in c
                 if s != "against" and measure in c[s]]  # fmt: skip
        for cell, p in zip(cells, holm([cell["p"] for cell in cells]), strict=True):
            cell["p_holm"] = p
    return {"measured": report, "compared": compared}


def scenarios_of(rows: Rows) -> list[str]:
    """The scenarios of some episodes, and all together where there are several."""
    names = list(dict.fromkeys(scenario for scenario, _ in rows))
    return [*names, POOLED] if len(names) > 1 else names


def part(rows: Rows, scenario: str) -> dict[tuple[str, int], dict[str, Any]]:
    """The episodes of a scenario, or all."""
    return {key: row for key, row in rows.items() if scenario in (POOLED, key[0])}


def measured(rows: Rows) -> dict[str, Any]:
    """Per scenario: rates with Wilson intervals, means of the measures with bootstrap intervals."""
    found = {}
    for scenario in scenarios_of(rows):
        mine = list(part(rows, scenario).values())
        codes: Counter[str] = Counter()
        for row in mine:
            codes.update(row["codes"])
        # What a plan vector carries: the entropy of those that were sent.
        found[scenario] = {**summary(mine), "bits": entropy_bits(codes.values()), "mean": {}}
        for name, of in MEASURES.items():
            values = np.array([v for row in mine if (v := of(row)) is not None], float)
            if len(values) and name not in ("success", "collision"):
                mean = {"value": float(values.mean()), "ci95": list(bootstrap(values))}
                found[scenario]["mean"][name] = mean
    return found


def compare(one: Rows, other: Rows) -> dict[str, Any]:
    """Paired differences per scenario of what is compared."""
    found: dict[str, Any] = {}
    for scenario in scenarios_of(one):
        mine, theirs = part(one, scenario), part(other, scenario)
        found[scenario] = {}
        for name in COMPARED:
            pairs = [(MEASURES[name](mine[key]), MEASURES[name](theirs[key])) for key in mine]
            known = [pair for pair in pairs if None not in pair]
            if known:
                a, b = (np.array(values) for values in zip(*known, strict=True))
                found[scenario][name] = msgspec.to_builtins(paired(a, b))
    return found
