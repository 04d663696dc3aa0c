"""What the nodes of a realtime run share: the run, the sign to stop, the health line."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import msgspec

from dualsys.bus import Publisher
from dualsys.messages import Health
from dualsys.spec import WorldSpec
from dualsys.supervisor.rights import claim, freeze
from dualsys.supervisor.table import ProcessRow, of_config

STOP = threading.Event()  # set when the node is asked to end


ANY_SESSION = 0  # of no run: theirs are drawn from 53 bits


class Run(msgspec.Struct, frozen=True):
    """What every node of a run knows."""

    config: dict[str, Any]
    scenario: str
    seeds: list[int]
    session: int  # ANY_SESSION: of whoever is let in by the door of a service
    spec: WorldSpec
    plans: dict[str, str]  # instruction -> plan, where the task names it
    duration_s: float  # stop the world after this long; 0: every seed once
    recorders: int = 1  # that are to hear everything: nobody begins before they are there
    watchers: int = 0  # that hear the signs of life besides: the supervisor


def settle(run: Run, role: str, counts: dict[str, Any]) -> None:
    """All that a node needs is loaded: ask for the rights that its row of the table names."""
    row = of_config(run.config["supervisor"]).processes.get(role, ProcessRow())
    counts["rights"] = {**claim(row), **freeze(row)}


ANOTHER_LIFE = 100_000  # numbers further on than this are of a node that was started again


def first_sequence(now_ns: int) -> int:
    """Where a node begins to count its messages [us of the run's clock].

    Started again it counts on from far beyond its earlier life, and is not taken for old.
    """
    return now_ns // 1_000


def named(**counts: Mapping[str, int]) -> dict[str, int]:
    """Counters of several parts as one, each under its part's name."""
    return {f"{part}_{name}": n for part, of in counts.items() for name, n in of.items()}


def heard(*publishers: tuple[Publisher, int]) -> bool:
    """Whether every publisher has as many listeners as it is to have: nothing is lost from here."""
    return all(publisher.listeners() >= wanted for publisher, wanted in publishers)


def report(publisher: Publisher, health: Health | None) -> None:
    """Publish a health report that is due."""
    if health is not None:
        publisher.send(health)
