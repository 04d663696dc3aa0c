"""Shares of useful, neutral and harmful calls, with intervals over whole drives."""

from __future__ import annotations

import pytest

from dualsys.statistics import wilson
from dualsys.whatif.verdicts import COLUMNS, MARGIN, Gain, verdicts

USEFUL, NEUTRAL, HARMFUL = 2 * MARGIN, MARGIN / 2, -2 * MARGIN


def calls(*drives: list[float], scenario: str = "driving/cut_in") -> list[Gain]:
    """The gains of the calls of every drive."""
    return [Gain(scenario, seed, gain) for seed, drive in enumerate(drives) for gain in drive]


def test_calls_that_repeat_their_drive_tell_no_more_than_their_drive() -> None:
    drives = [[USEFUL] * 10] * 6 + [[NEUTRAL] * 10] * 8 + [[HARMFUL] * 10] * 6
    (found,) = verdicts(calls(*drives))
    assert (found.drives, found.calls) == (20, 200)
    for share, count in ((found.useful, 60), (found.neutral, 80), (found.harmful, 60)):
        assert share.value == count / 200
        low, high = wilson(count, 200)
        assert share.ci95 is not None
        # Ten calls of a drive count as one: intervals of a third of the width would be too sure.
        assert high - low < 0.5 * (share.ci95[1] - share.ci95[0])
    once = verdicts(calls(*(drive[:1] for drive in drives)))[0]
    assert found.useful == once.useful
    assert found.gain.ci95 == pytest.approx(once.gain.ci95)


def test_a_drive_is_one_seed_of_one_scenario() -> None:
    here, there = calls([USEFUL], [HARMFUL]), calls([USEFUL], [USEFUL], scenario="driving/merge")
    cut_in, merge, both = verdicts([*here, *there])
    assert [v.scenario for v in (cut_in, merge, both)] == ["driving/cut_in", "driving/merge", "all"]
    assert [v.drives for v in (cut_in, merge, both)] == [2, 2, 4]
    assert both.useful.value == 0.75
    assert both.calls == 4


def test_what_never_happened_may_happen_yet() -> None:
    """No harmful call in 12 drives: the upper end is that of 12 trials, not of 120, and not 0."""
    (found,) = verdicts(calls(*[[USEFUL] * 10] * 12))
    assert found.harmful.value == 0
    assert found.harmful.ci95 == tuple(wilson(0, 12))
    assert found.useful.ci95 == tuple(wilson(12, 12))


def test_one_drive_tells_no_interval_and_says_so() -> None:
    (found,) = verdicts(calls([USEFUL, USEFUL, HARMFUL, NEUTRAL]))
    assert found.useful.ci95 is found.gain.ci95 is None
    line = dict(zip(COLUMNS, found.cells, strict=True))
    assert line["drives"] == "1"
    assert line["useful"] == "50.0% (one drive: no interval)"
    assert line["mean gain"] == "+0.0063 (one drive: no interval)"
    (two,) = verdicts(calls([USEFUL], [USEFUL, HARMFUL]))
    line = dict(zip(COLUMNS, two.cells, strict=True))
    assert line["useful"] == "66.7% (50.0% .. 100.0%)"
    assert line["mean gain"] == "+0.0067 (+0.0000 .. +0.0200)"
