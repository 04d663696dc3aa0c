"""Pools, families of comparisons and collisions, from rows made by hand."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from dualsys.bench.printout import fewer, fitting, gain, printouts, show
from dualsys.bench.summary import groups, pools, summarise
from dualsys.bench.table import Variant

SEEDS = 100
LONG_TAIL = ("driving/cut_in", "driving/hard_braking", "driving/wrong_way")


def row(collision: bool, calls: int = 0) -> dict[str, Any]:
    return {
        "completed": True,
        "success": not collision,
        "collision": collision,
        "return": 1.0,
        "steps": 100,
        "duration_s": 10.0,
        "thinking_s": 0.1 * calls,
        "calls": calls,
        "fallback_ticks": 0,
        "jerk": 0.0,
        "seam_jump": 0.0,
        "plan_age_s": None,
        "drive": {},
        "codes": {"0": 3, "1": 3} if calls else {},
    }


def rows(collides: dict[str, int], calls: int = 0) -> dict[tuple[str, int], dict[str, Any]]:
    """The first so many seeds of each scenario collide."""
    return {
        (scenario, seed): row(seed < count, calls)
        for scenario, count in collides.items()
        for seed in range(SEEDS)
    }


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    found = {
        "never": rows(dict(zip(LONG_TAIL, (40, 30, 20), strict=True))),
        "gate": rows(dict(zip(LONG_TAIL, (20, 15, 19), strict=True)), calls=10),
    }
    return summarise(found, {"never": Variant(()), "gate": Variant((), "never")})


def test_kinds_unseen_in_training_are_judged_apart(report: dict[str, Any]) -> None:
    assert report["pools"] == {
        "all": list(LONG_TAIL),
        "seen": ["driving/cut_in", "driving/hard_braking"],
        "unseen": ["driving/wrong_way"],
    }
    rates = {k: report["measured"]["gate"][k]["collision_rate"] for k in report["pools"]}
    assert rates == {"all": 0.18, "seen": 0.175, "unseen": 0.19}
    hard = {("driving/cut_in@0.8", 0): row(True), ("driving/merge", 0): row(False)}
    assert pools(hard) == {
        "all": ["driving/cut_in@0.8", "driving/merge"],
        "seen": ["driving/cut_in@0.8"],
    }
    tasks = {("manipulation/push", 0): row(True), ("manipulation/reach", 0): row(False)}
    assert list(pools(tasks)) == ["all"]
    assert list(groups({("driving/cut_in", 0): row(True)})) == ["driving/cut_in"]


def test_collisions_are_fewer_by_a_share_with_an_interval(report: dict[str, Any]) -> None:
    collision = report["compared"]["gate"]["all"]["collision"]
    assert collision["fewer"] == pytest.approx(36 / 90)
    low, high = collision["fewer_ci95"]
    assert 0.25 < low < 0.4 < high < 0.55
    assert collision["shown"]
    assert collision["mean"] == pytest.approx(-0.12)
    safe = {"never": rows({"driving/cut_in": 0}), "gate": rows({"driving/cut_in": 0})}
    without = summarise(safe, {"never": Variant(()), "gate": Variant((), "never")})
    assert "fewer" not in without["compared"]["gate"]["driving/cut_in"]["collision"]
    assert without["families"] == {"primary": ["driving/cut_in"]}


def test_a_difference_is_shown_only_if_interval_and_corrected_p_agree() -> None:
    """Twelve variants that save 6 of 100 collisions: by itself each interval excludes zero."""
    names = [f"gate {number}" for number in range(12)]
    found = {"never": rows({"driving/cut_in": 6})}
    found |= {name: rows({"driving/cut_in": 0}, calls=1) for name in names}
    against = {name: Variant((), "never") for name in names}
    compared = summarise(found, {"never": Variant(()), **against})["compared"]
    cell = compared["gate 0"]["driving/cut_in"]["collision"]
    assert cell["excludes_zero"]
    assert cell["p"] < 0.05 < cell["p_holm"]
    assert not cell["shown"]
    assert gain(cell).endswith(", no difference shown")
    alone = summarise(
        {"never": found["never"], "gate": found["gate 0"]},
        {"never": Variant(()), "gate": Variant((), "never")},
    )
    assert alone["compared"]["gate"]["driving/cut_in"]["collision"]["shown"]


def test_single_scenarios_do_not_bury_the_pools(report: dict[str, Any]) -> None:
    assert report["families"] == {
        "primary": ["all", "seen", "unseen"],
        "secondary": list(LONG_TAIL),
    }
    cells = {k: v for k, v in report["compared"]["gate"].items() if k != "against"}
    smallest = {
        family: min(members, key=lambda group: cells[group]["collision"]["p"])
        for family, members in report["families"].items()
    }
    for group in smallest.values():  # Holm: the smallest p times the size of its own family
        cell = cells[group]["collision"]
        assert cell["p_holm"] == pytest.approx(3 * cell["p"])


def test_the_tables_print_what_was_asked(report: dict[str, Any]) -> None:
    measured, means, compared = printouts(report)
    assert {line[1] for line in measured.rows} == {"all", "seen", "unseen"}
    single, _ = printouts(report, "secondary")
    assert {line[1] for line in single.rows} == set(LONG_TAIL)
    assert means.columns == ("variant", "jerk", "seam jump", "thinking [s]"), "what there is"
    assert "gain of score" not in compared.columns, "no drive has a score"
    lines = [dict(zip(measured.columns, line, strict=True)) for line in measured.rows]
    gate = next(line for line in lines if line["variant"] == "gate" and line["scenario"] == "all")
    assert gate["collisions"] == "18.0%"
    assert gate["ticks with a call"] == "10.0%"
    assert (gate["bits"], gate["of them plan"]) == ("1.0", "1.0")
    line = dict(zip(compared.columns, compared.rows[0], strict=True))
    assert line["scenario"] == "all"
    assert line["collision gain"].startswith("-12.0% (")
    assert line["fewer collisions by"].startswith("40.0% (")
    assert fewer({"fewer": 0.5, "fewer_ci95": None}) == "50.0% (too few for an interval)"
    assert fewer(None) == gain(None) == "-"
    for markdown in (False, True):
        written = io.StringIO()
        show(report, Console(file=written, width=200), markdown)
        assert "fewer collisions by" in written.getvalue()
        assert "…" not in written.getvalue(), "nothing is cut off at the right"
        assert ("driving/cut_in" in written.getvalue()) == markdown, "a terminal shows the pools"


def driven(score: float, age_s: float | None) -> dict[tuple[str, int], dict[str, Any]]:
    """Drives whose score and seam jump differ from seed to seed, about what is given."""
    found = rows(dict.fromkeys(LONG_TAIL, 5), calls=10 if age_s else 0)
    for (_, seed), told in found.items():
        told["drive"] = {"score": score + 0.001 * (seed % 11), "ttc": 1.0, "comfort": seed % 2}
        told |= {"plan_age_s": age_s, "seam_jump": 0.02 + 0.0001 * (seed % 5)}
    return found


@pytest.fixture
def scored() -> dict[str, Any]:
    gates = {"System 1 alone": driven(0.7, None), "gate, plan and code": driven(0.8, 0.5)}
    variants = {"System 1 alone": Variant(()), "gate, plan and code": Variant((), "System 1 alone")}
    return summarise(gates, variants)


def test_the_measures_are_shown_with_their_intervals(scored: dict[str, Any]) -> None:
    _, means, compared = printouts(scored)
    assert means.columns[:4] == ("variant", "score", "time to collision", "comfort")
    assert means.columns[4:] == ("jerk", "seam jump", "plan age [s]", "thinking [s]")
    alone, gate = (dict(zip(means.columns, line, strict=True)) for line in means.rows)
    assert alone["plan age [s]"] == "-", "nobody was asked"
    assert gate["plan age [s]"] == "0.50 (0.50 .. 0.50)"
    assert gate["comfort"].startswith("0.500 (0.4")
    low, high = scored["measured"]["gate, plan and code"]["all"]["mean"]["seam_jump"]["ci95"]
    assert gate["seam jump"] == f"0.0202 ({low:.4f} .. {high:.4f})"
    line = dict(zip(compared.columns, compared.rows[0], strict=True))
    assert line["gain of score"] == "+0.100 (+0.100 .. +0.100), p < 0.001"
    assert line["drives better"].startswith("100.0% (9")
    assert line["drives worse"].startswith("0.0% (0.0% .. ")
    score = scored["compared"]["gate, plan and code"]["all"]["score"]
    assert score["better_ci95"][0] < 1.0 == score["better"]
    assert [printout.title for printout in printouts(scored, "secondary")] == [
        "measured, scenario by scenario",
        "compared in pairs, scenario by scenario; p after Holm's correction",
    ]


def test_a_drive_that_hardly_changed_is_neither_better_nor_worse() -> None:
    found = {"never": driven(0.7, None), "gate": driven(0.7, 0.5)}
    for place, (_, told) in enumerate(sorted(found["gate"].items())):
        told["drive"]["score"] += 0.009 if place % 2 else (-0.011 if place % 4 else 0.011)
    score = summarise(found, {"never": Variant(()), "gate": Variant((), "never")})["compared"][
        "gate"
    ]["all"]["score"]
    assert (score["better"], score["worse"]) == (0.25, 0.25)


@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_cell_is_broken_in_a_terminal(scored: dict[str, Any], width: int) -> None:
    written = io.StringIO()
    show(scored, Console(file=written, width=width))
    said = written.getvalue()
    assert max(map(len, said.splitlines())) <= width
    for printout in printouts(scored):
        for line in printout.rows:
            for cell in line:
                assert all(part in said for part in cell.replace("), ", ")\n").split("\n")), cell
    assert "[s]" in said, "a unit is no markup"


def test_an_interval_stays_beside_what_it_is_of(scored: dict[str, Any]) -> None:
    measured = printouts(scored)[0]
    for width in range(40, 200, 7):
        parts = fitting(measured, width)
        assert [p.columns[:2] for p in parts] == [measured.columns[:2]] * len(parts)
        assert sum((p.columns[2:] for p in parts), ()) == measured.columns[2:]
        assert all(p.columns[2] != "95% interval" for p in parts)
