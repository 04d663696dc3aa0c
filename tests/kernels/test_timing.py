"""Engines are timed in turns, and what the machine did meanwhile is told apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from kernels.timing import CACHES, stalled, take_turns, told


def ticking(step_ns: dict[str, int], begun: list[str]) -> Callable[[], int]:
    """A clock that only moves while somebody works."""
    now = [0]

    def read() -> int:
        now[0] += step_ns[begun[-1]] if begun else 0
        return now[0]

    return read


def test_works_take_turns_and_each_goes_first_equally_often() -> None:
    order: list[tuple[int, str]] = []
    works = {n: (lambda number, n=n: order.append((number, n))) for n in ("a", "b", "c")}
    rounds = []
    found = take_turns(works, 6, 3, lambda: rounds.append(1))
    assert len(rounds) == 9
    assert {name: spans.shape for name, spans in found.items()} == dict.fromkeys(works, (6, 2))
    assert Counter(name for _, name in order) == dict.fromkeys(works, 9)
    firsts = Counter(name for place, (_, name) in enumerate(order) if place % 3 == 0)
    assert firsts == dict.fromkeys(works, 3)


def test_the_warm_up_does_not_count() -> None:
    begun: list[str] = []
    clock = ticking({"slow": 1_000_000, "fast": 100_000}, begun)

    def work(name: str) -> Callable[[int], None]:
        return lambda number: begun.append(name if number >= 2 else "slow")

    found = take_turns({"slow": work("slow"), "fast": work("fast")}, 4, 2, clock=clock)
    elapsed = {name: np.diff(spans).ravel() for name, spans in found.items()}
    assert set(elapsed["slow"]) == {1_000_000}
    assert set(elapsed["fast"]) == {100_000}


def test_a_work_is_done_once_before_where_caches_are_warm_and_not_where_they_are_cold() -> None:
    done: Counter[str] = Counter()

    def work(number: int) -> None:
        done[caches] += 1

    for caches in CACHES:
        found = take_turns({"one": work}, 3, 2, caches=caches)
        assert found["one"].shape == (3, 2)
    assert done == {"cold": 5, "warm": 10}


def test_what_makes_the_caches_warm_is_not_timed() -> None:
    begun: list[str] = []
    clock = ticking({"first": 5_000_000, "again": 100_000}, begun)

    def work(number: int) -> None:
        begun.append("again" if begun[-1:] == ["first"] else "first")

    found = take_turns({"one": work}, 4, 2, clock=clock, caches="warm")
    assert set(np.diff(found["one"]).ravel()) == {100_000}


def spans_of(milliseconds: list[float]) -> np.ndarray:
    ends = np.cumsum(np.array(milliseconds) * 1e6).astype(np.int64)
    return np.stack([np.concatenate([[0], ends[:-1]]), ends], 1)


def test_percentiles_ratios_and_stalls() -> None:
    mine, reference = spans_of([1.0] * 98 + [1.0, 50.0]), spans_of([4.0] * 100)
    row = told(mine, reference, [(mine[-1, 0] + 10, mine[-1, 1] - 10)])
    assert row["p50_ms"] == pytest.approx(1.0)
    assert row["max_ms"] == pytest.approx(50.0)
    assert row["p99_ms"] > 1.0
    assert row["p99_outside_stalls_ms"] == pytest.approx(1.0)
    assert row["in_stalls"] == 1
    assert row["times_faster"] == pytest.approx(4.0)
    assert row["times_faster_ci95"] == [pytest.approx(4.0)] * 2


def test_a_span_is_stalled_where_the_two_overlap() -> None:
    spans = spans_of([1.0, 1.0, 1.0])
    assert stalled(spans, []).tolist() == [False] * 3
    assert stalled(spans, [(1_500_000, 1_600_000)]).tolist() == [False, True, False]
    assert stalled(spans, [(0, 1_000_000)]).tolist() == [True, False, False]
    everything = told(spans, spans, [(0, 9_000_000)])
    assert everything["p99_outside_stalls_ms"] is None
