from __future__ import annotations

import pytest

from dualsys.runtime.results import percentiles_ms


def test_percentiles_are_in_milliseconds() -> None:
    values = percentiles_ms([n * 1_000_000 for n in range(1, 1001)])
    assert values["p50_ms"] == pytest.approx(500.5)
    assert values["p99_ms"] == pytest.approx(990.01)
    assert values["max_ms"] == 1000.0
    assert percentiles_ms([]) == {}
