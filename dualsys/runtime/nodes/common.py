"""What the nodes of a realtime run share: the run, the sign to stop, the health line."""

from __future__ import annotations

import threading
from typing import Any

import msgspec

from dualsys.bus import Publisher
from dualsys.messages import Health
from dualsys.spec import WorldSpec

STOP = threading.Event()  # set by SIGTERM; an exception could tear a record in two


class Run(msgspec.Struct, frozen=True):
    """What every node of a run knows."""

    config: dict[str, Any]
    scenario: str
    seeds: list[int]
    session: int
    spec: WorldSpec
    plans: dict[str, str]  # instruction -> plan, where the task names it
    duration_s: float  # stop the world after this long; 0: every seed once
    recorders: int = 1  # that are to hear everything: nobody begins before they are there


def heard(*publishers: tuple[Publisher, int]) -> bool:
    """Whether every publisher has as many listeners as it is to have: nothing is lost from here."""
    return all(publisher.listeners() >= wanted for publisher, wanted in publishers)


def report(publisher: Publisher, health: Health | None) -> None:
    """Publish a health report that is due."""
    if health is not None:
        publisher.send(health)
