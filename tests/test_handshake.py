"""How a run and a System 2 elsewhere come together, without a link."""

from __future__ import annotations

import msgspec
import pytest

from dualsys.handshake import PERIOD_NS, QUIET_NS, Caller, Reception
from dualsys.messages import Admission, Introduction, Stamp
from tests.fakes import SPEC

S = 1_000_000_000


def words(session: int = 7, sequence: int = 0) -> Introduction:
    return Introduction(Stamp(session, 0, sequence, 0, 0), "0.1.0", SPEC, {}, "short")


def answer(introduction: Introduction | None, state: str = "ready") -> Admission:
    assert introduction is not None
    return Admission(introduction.stamp, state, "", {"name": "scripted"})


def test_a_run_introduces_itself_once_a_second_for_as_long_as_it_lasts() -> None:
    caller = Caller(words())
    said = [now for now in range(0, 3 * S, S // 10) if caller.due(now) is not None]
    assert said == [0, PERIOD_NS, 2 * PERIOD_NS]
    assert caller.state == "unheard"
    late = caller.due(60 * S)
    assert late is not None
    assert caller.due(60 * S + 1) is None, "what was not said while it slept is not made up"


def test_the_round_trip_is_measured_on_the_runs_own_clock() -> None:
    """The other side's clock is years away, or it lies: it is never read."""
    caller = Caller(words())
    told = answer(caller.due(5 * S))
    foreign = msgspec.structs.replace(told.stamp, time_ns=-(10**18))
    assert caller.hear(msgspec.structs.replace(told, stamp=foreign), 5 * S + 40)
    assert caller.round_trip_ns == 40
    assert not caller.hear(told, 5 * S + 50), "an answer counts once"
    assert caller.round_trip_ns == 40


def test_an_answer_to_nothing_that_was_said_changes_nothing() -> None:
    caller = Caller(words())
    told = answer(caller.due(0), "refused")
    for change in ({"sequence": 99}, {"session": 8}):
        foreign = msgspec.structs.replace(told.stamp, **change)
        assert not caller.hear(msgspec.structs.replace(told, stamp=foreign), 1)
    assert caller.state == "unheard"


def test_an_answer_that_was_overtaken_is_not_heard_after_the_newer_one() -> None:
    caller = Caller(words())
    first, second = answer(caller.due(0), "loading"), answer(caller.due(S))
    assert caller.hear(second, S + 1)
    assert not caller.hear(first, S + 2)
    assert caller.state == "ready"


def test_the_run_that_came_first_stays_until_it_is_quiet() -> None:
    reception = Reception()
    assert reception.greet(words(1), b"a", "key", 0)
    assert not reception.greet(words(2), b"b", "key", QUIET_NS - 1)
    assert reception.admits(1, b"a", "key", QUIET_NS - 1), "what it asks is a sign of its life"
    assert not reception.greet(words(2), b"b", "key", QUIET_NS)
    assert reception.greet(words(2), b"b", "key", 2 * QUIET_NS)
    assert not reception.admits(1, b"a", "key", 2 * QUIET_NS)
    assert reception.drops == {"session": 1}


def test_a_run_may_come_over_a_new_connection_but_under_no_other_key() -> None:
    reception = Reception()
    reception.greet(words(1), b"a", "robot", 0)
    assert not reception.greet(words(1), b"thief", "other", 1)
    assert not reception.admits(1, b"thief", "other", 2)
    assert reception.drops == {"other_peer": 2}
    assert reception.guest is not None
    assert reception.guest.peer == b"a"
    assert reception.admits(1, b"again", "robot", 3)
    assert reception.guest.peer == b"again", "answers go where it asks from"


@pytest.mark.parametrize("lost", range(1, 200, 40))
def test_introductions_that_are_never_answered_are_not_kept_for_ever(lost: int) -> None:
    caller = Caller(words())
    for number in range(lost):
        caller.due(number * S)
    told = answer(caller.due(lost * S))
    assert caller.hear(told, lost * S + 5)
    assert (caller.said, caller.heard) == (lost + 1, 1)
