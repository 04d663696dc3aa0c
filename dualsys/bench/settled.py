"""What each variant of a benchmark is run with, once the rates that its words refer to are known.

A control calls in every scenario as often as its variant did there: matched over all scenarios at
once it would call too often in one and too seldom in another, and differ by more than when.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from dualsys.bench.table import PLACEHOLDER
from dualsys.config import load
from dualsys.errors import DualsysError

Config = dict[str, Any]
Words = tuple[str, ...]


class Settled(msgspec.Struct, frozen=True):
    """Words and configurations of a variant, by scenario."""

    words: dict[str, Words]
    configs: dict[str, Config]


def settle(shared: list[str], words: Mapping[str, Words]) -> Settled:
    """The configurations of a variant's words, by scenario; equal words share one."""
    configs = {told: configured(shared, told) for told in dict.fromkeys(words.values())}
    return Settled(dict(words), {scenario: configs[told] for scenario, told in words.items()})


def configured(words: list[str], more: Words) -> Config:
    """The configuration of `dualsys eval` for one variant; which episodes is said elsewhere."""
    config = load("eval", [*words, *more])
    if config["runtime"]["name"] != "lockstep":
        raise DualsysError("a benchmark runs in lockstep; leave runtime=realtime to `dualsys run`")
    return {**config, "scenario": None, "suite": None, "seeds": ""}


def refers(words: Words) -> bool:
    """Whether words refer to the rate of another variant."""
    return any(PLACEHOLDER.search(word) for word in words)


def resolved(words: Words, rate: Callable[[str], float]) -> Words:
    """The words with "{rate of VARIANT}" replaced by `rate(VARIANT)`, its calls per tick."""

    def told(match: re.Match[str]) -> str:
        return f"{rate(match[1]):.6f}"

    return tuple(PLACEHOLDER.sub(told, word) for word in words)


def calls_per_tick(rows: Iterable[Mapping[str, Any]]) -> float:
    """Calls of all episodes over ticks of all: a short episode weighs less than a long one."""
    calls, steps = zip(*((row["calls"], row["steps"]) for row in rows), strict=True)
    return float(sum(calls) / sum(steps))


def merged(configs: Mapping[str, Any]) -> Any:
    """One configuration of several, by scenario: what differs is a table from scenario to value."""
    values = list(configs.values())
    if all(value == values[0] for value in values):
        return values[0]
    if all(isinstance(value, dict) and value.keys() == values[0].keys() for value in values):
        return {
            key: merged({scenario: config[key] for scenario, config in configs.items()})
            for key in values[0]
        }
    return dict(configs)
