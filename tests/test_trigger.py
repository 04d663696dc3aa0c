from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualsys.errors import DualsysError
from dualsys.trigger.rules import (
    NeverTrigger,
    PeriodicTrigger,
    RandomTrigger,
    UncertaintyTrigger,
)
from dualsys.trigger.situation import Situation


def calls(trigger: NeverTrigger | PeriodicTrigger | RandomTrigger, ticks: int) -> list[int]:
    return [t for t in range(ticks) if trigger.decide(t, Situation(0.0, None)) is not None]


def test_periodic_calls_at_once_and_then_every_period() -> None:
    trigger = PeriodicTrigger(4)
    assert calls(trigger, 10) == [0, 4, 8]
    trigger.reset(1)
    assert calls(trigger, 3) == [0]


def test_never_never_calls() -> None:
    assert calls(NeverTrigger(), 100) == []


@given(st.floats(0.0, 1.0), st.integers(1, 40), st.integers(0, 2**31), st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_random_calls_at_its_rate_whatever_the_refractory_time(
    share: float, apart: int, seed: int, ticks: int
) -> None:
    """Also in episodes that are shorter than the refractory time."""
    rate, episodes = share / apart, 600
    trigger, count = RandomTrigger(rate, apart, seed), 0
    for epoch in range(episodes):
        trigger.reset(epoch)
        count += len(calls(trigger, ticks))
    # Calls that keep apart spread no wider than those of a coin would.
    wanted = rate * episodes * ticks
    assert abs(count - wanted) <= 5 * wanted**0.5 + 1


def test_random_calls_are_a_refractory_time_apart_and_repeat_with_the_epoch() -> None:
    trigger = RandomTrigger(0.1, 7, seed=1)
    trigger.reset(5)
    first = calls(trigger, 5000)
    assert min(b - a for a, b in itertools.pairwise(first)) == 7
    trigger.reset(6)
    assert calls(trigger, 5000) != first
    trigger.reset(5)
    assert calls(trigger, 5000) == first


def test_a_rate_that_the_refractory_time_does_not_allow_is_refused() -> None:
    with pytest.raises(DualsysError, match=r"between 0 and 0\.125 .* \(8 ticks\), it is 0\.3"):
        RandomTrigger(0.3, 8, 0)
    # What a gate is measured at that calls whenever it may, in episodes of so many ticks.
    for ticks in (100, 25, 9):
        whenever = list(range(0, ticks, 8))
        trigger = RandomTrigger(len(whenever) / ticks, 8, 0)
        trigger.reset(3)
        assert calls(trigger, ticks) == whenever


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(DualsysError, match="period_ticks"):
        PeriodicTrigger(0)
    with pytest.raises(DualsysError, match="rate"):
        RandomTrigger(1.05, 1, 0)
    with pytest.raises(DualsysError, match="refractory_s"):
        RandomTrigger(0.5, 0, 0)


def reasons(trigger: UncertaintyTrigger, uncertainty: list[float]) -> list[str | None]:
    return [trigger.decide(tick, Situation(value, 0)) for tick, value in enumerate(uncertainty)]


def test_uncertainty_calls_from_the_threshold_on_until_it_is_clearly_below() -> None:
    trigger = UncertaintyTrigger(1.0, 0.2, 1, None)
    said = reasons(trigger, [0.9, 1.0, 0.85, 0.79, 0.9, 1.1])
    assert said == [None, "uncertain", "uncertain", None, None, "uncertain"]


def test_calls_are_a_refractory_time_apart() -> None:
    trigger = UncertaintyTrigger(1.0, 0.0, 3, None)
    said = reasons(trigger, [2.0] * 7)
    assert [tick for tick, reason in enumerate(said) if reason] == [0, 3, 6]
    trigger.reset(1)
    assert trigger.decide(0, Situation(2.0, 0)) == "uncertain", (
        "the last episode's call is forgotten"
    )


def test_old_guidance_and_none_are_reasons_to_call() -> None:
    trigger = UncertaintyTrigger(1.0, 0.0, 2, 10)
    assert trigger.decide(0, Situation(0.0, None)) == "no guidance"
    assert trigger.decide(1, Situation(0.0, None)) is None, "the answer is on its way"
    assert trigger.decide(5, Situation(0.0, 10)) is None
    assert trigger.decide(6, Situation(0.0, 11)) == "aged guidance"
    assert UncertaintyTrigger(1.0, 0.0, 2, None).decide(0, Situation(0.0, None)) is None


def test_an_uncertainty_that_is_not_known_yet_is_no_reason() -> None:
    assert UncertaintyTrigger(1.0, 0.0, 1, None).decide(0, Situation(float("nan"), 0)) is None


@pytest.mark.parametrize("wrong", [(float("nan"), 0, 1, None), (1, -1, 1, None), (1, 0, 0, None),
                                   (1, 0, 1, 0), (None, 0, 1, None)])  # fmt: skip
def test_an_uncertainty_trigger_refuses_what_makes_no_sense(
    wrong: tuple[float | None, float, int, int | None],
) -> None:
    with pytest.raises(DualsysError, match="trigger"):
        UncertaintyTrigger(*wrong)
