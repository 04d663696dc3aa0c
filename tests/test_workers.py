from __future__ import annotations

import os

import pytest

from dualsys.workers import completed


def half(number: int) -> tuple[int, int]:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number // 2, os.getpid()


def test_results_come_with_the_number_of_their_job() -> None:
    found = dict(completed(half, [2, 8, 4], 2))
    assert {number: result[0] for number, result in found.items()} == {0: 1, 1: 4, 2: 2}
    assert os.getpid() not in {pid for _, pid in found.values()}


def test_a_failed_job_is_told() -> None:
    with pytest.raises(ValueError, match="3 is odd"):
        list(completed(half, [3], 1))
