from __future__ import annotations

import pytest

from dualsys.supervisor.keeper import Keeper, told
from dualsys.supervisor.table import ProcessRow
from tests.supervisor.tables import config

S = 1_000_000_000


def keeper(restart: str = "always") -> Keeper:
    return Keeper("system2", ProcessRow(restart=restart), config(restarts=3, window_s=60.0))


def live(kept: Keeper, at_s: float, code: int) -> None:
    """Start it and let it end a second later."""
    assert kept.decide(round(at_s * S)) == "start"
    kept.started(round(at_s * S))
    assert kept.decide(round(at_s * S)) is None
    kept.ended(round((at_s + 1) * S), code)


def test_a_process_is_started_once() -> None:
    kept = keeper()
    assert kept.decide(0) == "start"
    kept.started(0)
    assert [kept.decide(t) for t in (1, S)] == [None, None]
    assert kept.restarts == 0


@pytest.mark.parametrize(
    ("restart", "code", "again"),
    [
        ("always", 0, True),
        ("always", -9, True),
        ("on-failure", 0, False),
        ("on-failure", 1, True),
        ("on-failure", -11, True),
        ("never", 0, False),
        ("never", -9, False),
    ],
)
def test_the_policy_says_whether_an_end_is_mended(restart: str, code: int, again: bool) -> None:
    kept = keeper(restart)
    live(kept, 0, code)
    assert kept.decide(2 * S) == ("start" if again else None)
    assert kept.restarts == again
    assert kept.latched is None


def test_after_three_restarts_in_the_window_it_is_given_up_with_a_reason() -> None:
    kept = keeper()
    for at in (0, 10, 20, 30):
        live(kept, at, -9)
    assert kept.latched == (
        "system2 was started 4 times in 60 s and is given up; the last time it ended with signal "
        "SIGKILL"
    )
    assert kept.decide(10_000 * S) is None
    assert kept.restarts == 3


def test_restarts_further_apart_are_no_reason_to_give_up() -> None:
    kept = keeper()
    for at in range(0, 300, 30):
        live(kept, at, -9)
    assert kept.latched is None
    assert kept.restarts == 10


def test_an_error_that_a_restart_would_repeat_is_given_up_at_once() -> None:
    kept = keeper()
    live(kept, 0, 2)
    assert kept.latched == "system2 ended with an error of its own; its message stands above"
    assert kept.decide(2 * S) is None


def test_without_a_sign_of_life_it_is_killed_once_and_started_again() -> None:
    kept = keeper()
    kept.started(0)
    kept.beat(5 * S)
    assert kept.decide(15 * S) is None
    assert kept.decide(15 * S + 1) == "kill"
    assert kept.decide(20 * S) is None
    kept.ended(21 * S, -9)
    assert kept.decide(21 * S) == "start"
    kept.started(21 * S)
    assert kept.decide(40 * S) is None, "its life before is forgotten"


def test_while_it_loads_patience_is_longer() -> None:
    kept = keeper()
    kept.started(0)
    assert kept.decide(300 * S) is None
    assert kept.decide(300 * S + 1) == "kill"
    kept.ended(301 * S, -9)
    for at in (310, 320, 330):
        live(kept, at, -9)
    hung = keeper()
    for at in (0, 1, 2, 3):
        hung.started(at * S)
        hung.beat(at * S)
        assert hung.decide((at + 11) * S) == "kill"
        hung.ended((at + 11) * S, -9)
    assert hung.latched is not None
    assert hung.latched.endswith("the last time it gave no sign of life for 10 s")


def test_a_time_in_which_nobody_could_look_is_no_silence() -> None:
    kept = keeper()
    kept.started(0)
    kept.pause(1000 * S)
    assert kept.decide(1300 * S) is None
    kept.beat(1301 * S)
    kept.pause(20 * S)
    assert kept.decide(1331 * S) is None
    assert kept.decide(1332 * S) == "kill"


def test_exit_codes_in_words() -> None:
    assert [told(0), told(3), told(-15)] == ["exit code 0", "exit code 3", "signal SIGTERM"]
