"""How late System 1 is, read off a log, and compared by parts that belong together."""

from __future__ import annotations

import runpy
from pathlib import Path

import msgspec
import numpy as np
import pytest

from dualsys.bench.lateness import lateness, ratio
from dualsys.blank import blank_observation
from dualsys.messages import Action
from dualsys.system1.tick import Tick
from sim.driving.spec import SPEC

ROOT = Path(__file__).parent.parent.parent
MS = 1_000_000


def action(at_ms: int, late_ms: int) -> Action:
    seen = blank_observation(SPEC, at_ms)
    seen = msgspec.structs.replace(
        seen, stamp=msgspec.structs.replace(seen.stamp, time_ns=(at_ms - late_ms) * MS)
    )
    made = Tick.of_commands(seen, np.zeros((2, 2)), at_ms * MS).action
    return msgspec.structs.replace(made, compute_ns=MS)


def test_ticks_that_a_stall_reaches_are_left_out() -> None:
    log = [action(10, 2), action(20, 5), action(30, 3), blank_observation(SPEC, 0)]
    found = lateness(log, [(16 * MS, 17 * MS), (31 * MS, 40 * MS)])
    assert found.late_ms.tolist() == [2.0, 3.0]
    assert found.at_ns.tolist() == [10 * MS, 30 * MS]
    assert found.act_ms.tolist() == [1.0, 1.0]
    assert len(lateness([], []).at_ns) == 0


def test_parts_that_differ_among_themselves_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    even = [rng.gamma(4.0, 1.0, 200) for _ in range(10)]
    uneven = [part * scale for part, scale in zip(even, np.linspace(0.5, 1.5, 10), strict=True)]
    narrow, wide = (ratio(parts, even, 99, np.random.default_rng(1)) for parts in (even, uneven))
    assert narrow["ratio"] == pytest.approx(1.0)
    assert np.ptp(wide["ci95"]) > 1.5 * np.ptp(narrow["ci95"])


def test_the_turns_of_a_viewer_are_told_apart() -> None:
    script = runpy.run_path(str(ROOT / "launch/view_cost.py"))
    log = [action(at, late) for at, late in ((10, 1), (20, 9), (30, 1), (40, 9))]
    found = lateness(log, [])
    seen = script["within"](found, [(15 * MS, 25 * MS), (35 * MS, 45 * MS), (90 * MS, 95 * MS)])
    unseen = script["within"](found, [(5 * MS, 15 * MS), (25 * MS, 35 * MS)])
    assert [turn.late_ms.tolist() for turn in seen] == [[9.0], [9.0]]
    shown = script["compared"](seen, unseen)
    assert shown["late_ms"]["p50"]["ratio"] == pytest.approx(9.0)
    assert shown["act_ms"]["p99"]["ratio"] == pytest.approx(1.0)
    assert shown["turns"] == {"viewed": 2, "alone": 2}
