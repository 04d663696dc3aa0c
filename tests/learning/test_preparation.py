from __future__ import annotations

import pytest

from dualsys.learning.preparation import before_steps, spans


def test_what_comes_before_the_first_step_is_told_as_it_goes_on() -> None:
    told: list[tuple[int, dict[str, float]]] = []
    tell = before_steps(lambda step, parts: told.append((step, parts)))
    found = list(spans(5, 2, "reading", tell))
    assert found == [[0, 1], [2, 3], [4]]
    assert [step for step, _ in told] == [0, 0, 0]
    assert [parts["reading"] for _, parts in told] == pytest.approx([0.4, 0.8, 1.0])
    assert list(spans(0, 2)) == []
