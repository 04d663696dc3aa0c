from __future__ import annotations

from dualsys.runtime.health import PERIOD_NS, Pulse


def test_a_report_is_due_at_once_and_then_every_period() -> None:
    pulse = Pulse("system1", 7)
    due = [now for now in range(0, 3 * PERIOD_NS, PERIOD_NS // 4) if pulse.beat(now, {})]
    assert due == [0, PERIOD_NS, 2 * PERIOD_NS]


def test_a_report_holds_what_was_measured_since_the_last() -> None:
    pulse = Pulse("system1", 7)
    pulse.measured("act", 5)
    first = pulse.beat(10, {"passes": 3}, epoch=2)
    assert first is not None
    assert (first.process, first.stamp.session, first.stamp.epoch) == ("system1", 7, 2)
    assert (first.counters, first.timing_ns) == ({"passes": 3}, {"act": [5]})
    second = pulse.beat(10 + PERIOD_NS, {"passes": 4})
    assert second is not None
    assert second.timing_ns == {}
    assert second.stamp.sequence == 2


def test_missed_reports_are_not_made_up() -> None:
    pulse = Pulse("world", 7)
    pulse.beat(0, {})
    late = 10 * PERIOD_NS
    assert pulse.beat(late, {})
    assert pulse.beat(late + 1, {}) is None
