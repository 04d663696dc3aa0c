from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.shield.ladder import CONDITIONS, RUNGS, Ladder, LadderConfig
from tests.shield.plants import LADDER, ladder

S = 1_000_000_000
ANSWERS = dict(answers=True, guidance_age_s=None, waiting_s=None)
FRESH = {**ANSWERS, "guidance_age_s": 0.4}
OLD = {**ANSWERS, "guidance_age_s": 1.01}
OWED = {**ANSWERS, "waiting_s": 1.99}
OVERDUE = {**ANSWERS, "waiting_s": 2.0}
SILENT = {**ANSWERS, "answers": False}

SEQUENCES: dict[str, list[tuple[float, dict[str, Any], str]]] = {
    "guidance ages, goes, and comes again": [
        (0.0, FRESH, "fresh"),
        (0.5, {**FRESH, "guidance_age_s": 1.0}, "fresh"),
        (1.0, OLD, "ageing"),
        (1.5, ANSWERS, "alone"),
        (2.0, FRESH, "fresh"),
    ],
    "asked for and not there": [
        (0.0, OWED, "alone"),
        (0.1, OVERDUE, "expired"),
        (0.2, {**OVERDUE, "waiting_s": 60.0}, "expired"),
        (0.3, ANSWERS, "alone"),
    ],
    "what is in use counts, also while more is owed": [
        (0.0, {**OVERDUE, "guidance_age_s": 0.4}, "fresh"),
        (0.1, {**OVERDUE, "guidance_age_s": 4.0}, "ageing"),
        (0.2, OVERDUE, "expired"),
    ],
    "System 1 is silent for a moment": [
        (0.0, FRESH, "fresh"),
        (0.1, SILENT, "silent"),
        (5.0, SILENT, "silent"),
        (5.05, FRESH, "fresh"),
        (5.1, SILENT, "silent"),
        (10.0, SILENT, "silent"),
    ],
    "silent for too long it is stopped, and engages anew": [
        (0.0, FRESH, "fresh"),
        (1.0, {**SILENT, "guidance_age_s": 0.4}, "silent"),
        (5.9, SILENT, "silent"),
        (6.0, SILENT, "stopped"),
        (7.0, FRESH, "stopped"),
        (7.25, FRESH, "stopped"),
        (7.5, FRESH, "stopped"),
        (7.75, FRESH, "stopped"),
        (8.0, FRESH, "fresh"),
    ],
    "a clock that jumps ahead makes nothing fresh or silent": [
        (0.0, FRESH, "fresh"),
        (3600.0, FRESH, "fresh"),
        (3600.1, SILENT, "silent"),
        (7200.0, SILENT, "stopped"),
    ],
    "a clock that jumps back lets nobody off": [
        (100.0, FRESH, "fresh"),
        (0.0, FRESH, "fresh"),
        (0.1, SILENT, "silent"),
        (-50.0, SILENT, "silent"),
        (5.1, SILENT, "stopped"),
        (0.0, FRESH, "stopped"),
        (0.2, FRESH, "stopped"),
    ],
    "broken signs of life count from their break": [
        (0.0, SILENT, "silent"),
        (5.0, SILENT, "stopped"),
        (6.0, FRESH, "stopped"),
        (6.25, FRESH, "stopped"),
        (6.5, FRESH, "stopped"),
        (6.76, FRESH, "stopped"),
        (7.0, FRESH, "stopped"),
        (7.25, FRESH, "stopped"),
        (7.5, FRESH, "stopped"),
        (7.75, FRESH, "stopped"),
        (7.76, FRESH, "fresh"),
    ],
    "a silence among them, too": [
        (0.0, SILENT, "silent"),
        (5.0, SILENT, "stopped"),
        *((6 + i / 4, FRESH, "stopped") for i in range(4)),
        (6.8, SILENT, "stopped"),
        (7.0, FRESH, "fresh"),  # the gap was no longer than allowed
    ],
}


def ready(**config: Any) -> Ladder:
    made = ladder(**config)
    for condition in CONDITIONS:
        made.meet(condition)
    return made


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences(name: str) -> None:
    stairs = ready()
    for at_s, facts, rung in SEQUENCES[name]:
        leave = stairs.step(round(at_s * S), **facts)
        assert (at_s, stairs.rung) == (at_s, rung)
        assert leave == LADDER.rungs[rung]


@pytest.mark.parametrize("missing", [None, *CONDITIONS])
def test_nobody_engages_before_every_condition_and_a_second_of_life(missing: str | None) -> None:
    stairs = ladder(engaged=False)
    assert stairs.missing() == ("limits", "schema", "warm-up", "signs of life for 1 s")
    for condition in CONDITIONS:
        if condition != missing:
            stairs.meet(condition)
    rungs = []
    for step in range(6):
        rungs.append(stairs.step(step * S // 4, **ANSWERS) and stairs.rung)
    assert rungs == ["standby"] * (4 if missing is None else 6) + ["alone"] * (missing is None) * 2
    assert stairs.missing() == (() if missing is None else (missing, "signs of life for 1 s"))


def test_signs_of_life_are_whatever_comes_from_system_1() -> None:
    stairs = ladder(engaged=False, engage_s=0.5)
    for condition in CONDITIONS:
        stairs.meet(condition)
    for step in range(5):
        assert stairs.missing()
        stairs.alive(step * S // 8)
    assert not stairs.missing()


def test_a_clock_that_goes_back_starts_them_anew() -> None:
    stairs = ladder(engaged=False)
    for condition in CONDITIONS:
        stairs.meet(condition)
    for at in (10.0, 10.25, 10.5, 10.75, 3.0, 3.25):
        stairs.alive(round(at * S))
    assert stairs.missing()
    for at in (3.5, 3.75, 4.0):
        stairs.alive(round(at * S))
    assert not stairs.missing()


def test_a_system_1_that_says_hello_anew_has_to_engage() -> None:
    stairs = ready()
    assert stairs.step(0, **FRESH) == "full"
    stairs.greet()
    assert stairs.step(S // 4, **FRESH) == "fallback"
    assert stairs.rung == "standby"
    rungs = []
    for step in range(2, 7):
        stairs.step(step * S // 4, **FRESH)
        rungs.append(stairs.rung)
    assert rungs == ["standby"] * 3 + ["fresh"] * 2


def test_nobody_stands_anywhere_but_on_standby_before_the_first_step() -> None:
    assert ladder(engaged=False).rung == "standby"


def test_two_signs_at_once_break_nothing() -> None:
    stairs = ladder(engaged=False)
    for condition in CONDITIONS:
        stairs.meet(condition)
    for at in (0.0, 0.25, 0.5, 0.5, 0.75):
        stairs.alive(round(at * S))
    assert stairs.missing()
    stairs.alive(S)
    assert not stairs.missing()


def test_a_condition_nobody_knows_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"'heart' is no condition; there are limits, schema, warm-up$"
    ):
        ladder().meet("heart")


@pytest.mark.parametrize("name", ["engage_s", "gap_s", "ageing_s", "overdue_s", "stop_s"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_time_that_is_not_positive_is_refused(name: str, value: float) -> None:
    with pytest.raises(DualsysError, match=f"ladder.{name} must be a positive number, it is"):
        ladder(**{name: value})


@pytest.mark.parametrize(
    ("rungs", "told"),
    [
        ({"fresh": "full"}, "ladder.rungs names fresh; the rungs are standby, fresh"),
        ({**LADDER.rungs, "tired": "full"}, "stopped, tired; the rungs are"),
        ({**LADDER.rungs, "silent": "full"}, "ladder.rungs.silent is 'full', it can be fallback$"),
        ({**LADDER.rungs, "standby": "reduced"}, "standby is 'reduced', it can be fallback$"),
        ({**LADDER.rungs, "stopped": "full"}, "stopped is 'full', it can be fallback$"),
        ({**LADDER.rungs, "fresh": "fast"}, "'fast', it can be full or reduced or fallback"),
    ],
)
def test_a_table_that_is_none_is_refused(rungs: dict[str, str], told: str) -> None:
    with pytest.raises(DualsysError, match=told):
        ladder(rungs=rungs)


def test_the_configuration_s_table_is_the_one_tested_here() -> None:
    config = load("eval", ["scenario=driving/merge"])["ladder"]
    assert LadderConfig(**config) == LADDER
    assert tuple(config["rungs"]) == RUNGS
    for rung, leave in (("ageing", "reduced"), ("alone", "fallback")):
        Ladder(msgspec.structs.replace(LADDER, rungs={**LADDER.rungs, rung: leave}))
