"""Every number of every command: what is out of its range is refused by name."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterator
from typing import Any

import pytest

from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.ranges import RANGES, SHARE, check
from dualsys.schemas import COMMANDS

NUMBERS = (int, float)


def numbers(schema: type[Any], prefix: str = "") -> Iterator[str]:
    """The name of every number of a command, lists and tables passed through."""
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        kinds = [hints[field.name]]
        while typing.get_args(kinds[0]):
            kinds = [kind for kind in typing.get_args(kinds[0]) if kind is not type(None)][-1:]
        if dataclasses.is_dataclass(kinds[0]):
            yield from numbers(typing.cast(Any, kinds[0]), f"{prefix}{field.name}.")
        elif kinds[0] in NUMBERS:
            yield prefix + field.name


EVERY = [(command, name) for command, schema in COMMANDS.items() for name in numbers(schema)]


def put(name: str, value: float) -> dict[str, Any]:
    """A configuration with nothing but this number in it."""
    node: Any = value
    for part in reversed(name.split(".")):
        node = {part: node}
    return typing.cast(dict[str, Any], node)


@pytest.mark.parametrize(("command", "name"), EVERY)
def test_no_number_may_be_endless_or_none_at_all(command: str, name: str) -> None:
    for value in (math.nan, math.inf, -math.inf, 1e300, -1e300):
        with pytest.raises(DualsysError, match=name):
            check(command, put(name, value))


def test_every_row_of_the_table_is_of_a_number_that_there_is() -> None:
    known = {name for _, name in EVERY}
    rows = [name for names in RANGES.values() for name in names.split()]
    assert set(rows) <= known
    assert len(rows) == len(set(rows)), "one number, one range"


@pytest.mark.parametrize(
    ("allowed", "name"), [(allowed, n) for allowed, names in RANGES.items() for n in names.split()]
)
def test_the_ends_of_a_range(allowed: Any, name: str) -> None:
    check("eval", put(name, allowed.high))
    for beyond in (allowed.low - 1, allowed.high * 1.01):
        with pytest.raises(DualsysError, match=name):
            check("eval", put(name, beyond))
    if allowed.closed:
        check("eval", put(name, allowed.low))
    else:
        with pytest.raises(DualsysError, match="more than"):
            check("eval", put(name, allowed.low))


def test_a_number_in_a_list_is_told_by_its_place() -> None:
    with pytest.raises(DualsysError, match=r"depth_steps\[1\] can be 1 or more, it is 0"):
        load("eval", ["scenario=driving/merge", "system1.depth_steps=[4,0]"])
    row = "{place: camera, kind: off, begin_s: nan, end_s: 3}"
    with pytest.raises(DualsysError, match=r"declared\[0\].begin_s can be 0 or more, it is nan"):
        load("eval", ["scenario=driving/merge", f"faults.declared=[{row}]"])


def test_what_is_no_number_is_left_alone() -> None:
    check("eval", {"a": "nan", "b": None, "c": True, "d": [], "e": {"f": "1e300"}})


def test_a_range_tells_what_may_be_given() -> None:
    assert str(SHARE) == "0 to 1"
    with pytest.raises(DualsysError, match=r"rate can be 0 to 1, it is 1[.]5"):
        load("eval", ["scenario=driving/merge", "trigger.rate=1.5"])
    with pytest.raises(DualsysError, match="period_s can be more than 0, it is -1"):
        load("eval", ["scenario=driving/merge", "trigger.period_s=-1"])
