"""What a benchmark's episodes come to: rates per scenario, and differences paired by seed.

A group is one line of a table: a pool of scenarios, or one scenario. The pools are one family of
comparisons, the single scenarios another, so that many scenarios do not bury the headline.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from dualsys.runtime.results import summary
from dualsys.statistics import bootstrap, bootstrap_by, holm, paired, reduction, wilson
from dualsys.system2.coding import message_bits
from dualsys.whatif.verdicts import MARGIN
from sim.registry import kind_of

if TYPE_CHECKING:
    from dualsys.bench.table import Variant

Rows = Mapping[tuple[str, int], dict[str, Any]]
POOLED = "all"
SURE = 0.05  # a corrected p-value below is no accident

MEASURES: dict[str, Callable[[dict[str, Any]], float | bool | None]] = {
    # An episode that was cut off says nothing about how it would have ended.
    "success": lambda row: bool(row["success"]) if row["completed"] else None,
    "collision": lambda row: row["collision"] if row["completed"] else None,
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
# Rates are those of all episodes together, as a random gate is matched: long ones weigh more.
WEIGHTS: dict[str, Callable[[dict[str, Any]], float]] = {
    "calls_per_minute": lambda row: row["duration_s"],
    "calls_per_tick": lambda row: row["steps"],
}
COMPARED = ("success", "collision", "score")


def summarise(found: Mapping[str, Rows], variants: Mapping[str, Variant]) -> dict[str, Any]:
    """Measures of every variant per pool and scenario, and its comparison, Holm-corrected."""
    compared: dict[str, dict[str, Any]] = {}
    for name, variant in variants.items():
        if variant.against:
            compared[name] = {
                "against": variant.against,
                **compare(found[name], found[variant.against]),
            }
    first = next(iter(found.values()))
    pooled = pools(first)
    single = [scenario for scenario in groups(first) if scenario not in pooled]
    families = {"primary": list(pooled), "secondary": single} if pooled else {"primary": single}
    for family in families.values():
        correct(compared, family)
    return {
        "pools": pooled,
        "families": families,
        "measured": {name: measured(rows) for name, rows in found.items()},
        "compared": compared,
    }


def correct(compared: Mapping[str, dict[str, Any]], family: list[str]) -> None:
    """Correct the comparisons of each measure over all variants and the groups of a family.

    A difference is shown where its interval excludes zero and its corrected p is below 5%.
    """
    for measure in COMPARED:
        cells = [
            cells[group][measure]
            for cells in compared.values()
            for group in family
            if measure in cells[group]
        ]
        for cell, p in zip(cells, holm([cell["p"] for cell in cells]), strict=True):
            cell["p_holm"] = p
            cell["shown"] = cell["excludes_zero"] and p < SURE


def pools(rows: Rows) -> dict[str, list[str]]:
    """Scenarios that are judged together: all, and of the long tail the kinds seen in training.

    None for a single scenario; a pool that would hold all, or none, is left out.
    """
    names = list(dict.fromkeys(scenario for scenario, _ in rows))
    if len(names) < 2:
        return {}
    kinds = {kind: [n for n in names if kind_of(n) == kind] for kind in ("seen", "unseen")}
    return {POOLED: names, **{k: mine for k, mine in kinds.items() if 0 < len(mine) < len(names)}}


def groups(rows: Rows) -> dict[str, list[str]]:
    """The scenarios of each line of a table: the pools, then every scenario by itself."""
    return {**pools(rows), **{scenario: [scenario] for scenario, _ in rows}}


def part(rows: Rows, scenarios: list[str]) -> dict[tuple[str, int], dict[str, Any]]:
    """The episodes of some scenarios."""
    return {key: row for key, row in rows.items() if key[0] in scenarios}


def measured(rows: Rows) -> dict[str, Any]:
    """Per group: rates with Wilson intervals, means of the measures with bootstrap intervals."""
    found = {}
    for group, scenarios in groups(rows).items():
        mine = list(part(rows, scenarios).values())
        codes: Counter[str] = Counter()
        for row in mine:
            codes.update(row["codes"])
        found[group] = {**summary(mine), **message_bits(codes), "mean": {}}
        for name, of in MEASURES.items():
            known = [row for row in mine if of(row) is not None]
            if known and name not in ("success", "collision"):
                values = np.array([of(row) for row in known], float)
                found[group]["mean"][name] = mean(values, weights(name, known))
    return found


def weights(name: str, rows: list[dict[str, Any]]) -> np.ndarray:
    """What each episode counts for in the mean of a measure: (N,)."""
    of = WEIGHTS.get(name)
    return np.ones(len(rows)) if of is None else np.array([of(row) for row in rows], float)


def mean(values: np.ndarray, heavy: np.ndarray) -> dict[str, Any]:
    """The mean of episodes (N,) of weights (N,), and its interval from episodes drawn anew."""
    if len(values) < 2 or (heavy == heavy[0]).all():
        return {"value": float(values.mean()), "ci95": list(bootstrap(values))}
    interval = bootstrap_by(np.arange(len(values)), values, heavy)
    return {"value": float(np.average(values, weights=heavy)), "ci95": list(interval)}


def changed(how: str, drives: np.ndarray) -> dict[str, Any]:
    """The share of drives, bool (N,), that went so, and its interval."""
    hits = int(drives.sum())
    return {how: hits / len(drives), f"{how}_ci95": wilson(hits, len(drives))}


def compare(one: Rows, other: Rows) -> dict[str, Any]:
    """Paired differences per group of what is compared.

    Of collisions also the share by which they are fewer, where the other side had any; of the score
    the shares of drives that went better and worse, by more than makes a call useful or harmful.
    """
    found: dict[str, Any] = {}
    for group, scenarios in groups(one).items():
        mine, theirs = part(one, scenarios), part(other, scenarios)
        found[group] = {}
        for name in COMPARED:
            pairs = [(MEASURES[name](mine[key]), MEASURES[name](theirs[key])) for key in mine]
            known = [pair for pair in pairs if None not in pair]
            if not known:
                continue
            a, b = (np.array(values) for values in zip(*known, strict=True))
            found[group][name] = msgspec.to_builtins(paired(a, b))
            if name == "collision" and b.any():
                share, interval = reduction(a, b)
                found[group][name] |= {"fewer": share, "fewer_ci95": interval}
            if name == "score":
                found[group][name] |= changed("better", a - b > MARGIN)
                found[group][name] |= changed("worse", a - b < -MARGIN)
    return found
