from __future__ import annotations

import pytest

from dualsys.trigger.rules import NeverTrigger, PeriodicTrigger, RandomTrigger


def calls(trigger: NeverTrigger | PeriodicTrigger | RandomTrigger, ticks: int) -> list[int]:
    return [t for t in range(ticks) if trigger.decide(t, 0.0, None) is not None]


def test_periodic_calls_at_once_and_then_every_period() -> None:
    trigger = PeriodicTrigger(4)
    assert calls(trigger, 10) == [0, 4, 8]
    trigger.reset(1)
    assert calls(trigger, 3) == [0]


def test_never_never_calls() -> None:
    assert calls(NeverTrigger(), 100) == []


def test_random_calls_at_its_rate_and_repeats_with_the_epoch() -> None:
    trigger = RandomTrigger(0.2, seed=1)
    trigger.reset(5)
    first = calls(trigger, 5000)
    assert 900 < len(first) < 1100
    trigger.reset(6)
    assert calls(trigger, 5000) != first
    trigger.reset(5)
    assert calls(trigger, 5000) == first


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="period_ticks"):
        PeriodicTrigger(0)
    with pytest.raises(ValueError, match="rate"):
        RandomTrigger(1.5, 0)
