from __future__ import annotations

import pytest
from scipy.stats import binomtest

from dualsys.runtime.results import percentiles_ms, wilson


@pytest.mark.parametrize(("hits", "count"), [(0, 20), (7, 20), (20, 20), (190, 200)])
def test_the_wilson_interval_is_the_one_of_scipy(hits: int, count: int) -> None:
    theirs = binomtest(hits, count).proportion_ci(method="wilson")
    assert wilson(hits, count) == pytest.approx([theirs.low, theirs.high], abs=1e-9)


def test_percentiles_are_in_milliseconds() -> None:
    values = percentiles_ms([n * 1_000_000 for n in range(1, 1001)])
    assert values["p50_ms"] == pytest.approx(500.5)
    assert values["p99_ms"] == pytest.approx(990.01)
    assert values["max_ms"] == 1000.0
    assert percentiles_ms([]) == {}
