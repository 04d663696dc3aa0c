from __future__ import annotations

import os

import msgspec
import pytest

from dualsys.workers import by_scenario, completed


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


class Piece(msgspec.Struct, frozen=True):
    """Something of a scenario."""

    scenario: str
    number: int


def test_what_one_worker_takes_on_is_of_one_scenario_and_not_too_much() -> None:
    pieces = [Piece("ab"[n % 2], n) for n in range(7)]
    parts = [(name, [p.number for p in part]) for name, part in by_scenario(pieces, 3)]
    assert parts == [("a", [0, 2, 4]), ("a", [6]), ("b", [1, 3, 5])]
