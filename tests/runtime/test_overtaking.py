"""A newer request overtakes the thought that System 2's process is in."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest

from dualsys.messages import Guidance, PlanRequest
from dualsys.runtime.nodes.system2 import System2Node
from dualsys.runtime.probe import requests_of
from dualsys.system2.planner import Stop, never

ASKED, NEWER = requests_of("driving/merge", 2)


class Ponderer:
    """Tells something at once, asks ten times whether to stop, and tells the rest."""

    thought = None
    faults: ClassVar[Counter[str]] = Counter()
    engine: ClassVar[dict[str, str]] = {}

    def warm_up(self, budget: str) -> None:
        """Nothing is slow."""

    def think(self, request: PlanRequest, budget: str, stop: Stop = never) -> Iterator[Guidance]:
        none = np.zeros((0, 2), np.float32)
        guidance = Guidance(
            request.stamp, request.request_id, 0, none[0:0, 0], none, math.nan, False, 0, ""
        )
        yield guidance
        if not any(stop() for _ in range(10)):
            yield msgspec.structs.replace(guidance, final=True)


class Links:
    """Both links of the process; a newer request comes with the update of number `at`."""

    def __init__(self, at: int) -> None:
        self.link, self.at, self.updates = SimpleNamespace(drops=Counter()), at, 0
        self.told: list[Guidance] = []

    def update(self, now_ns: int) -> PlanRequest | None:
        self.updates += 1
        return NEWER if self.updates == self.at else None

    def answer(self, guidance: Guidance, now_ns: int) -> None:
        self.told.append(guidance)

    def send(self, message: Any) -> None:
        """The recorder is not of interest here."""


@pytest.mark.parametrize(
    ("at", "told", "interrupted"),
    [(1, 1, 1), (5, 1, 1), (11, 1, 1), (12, 2, 0), (99, 2, 0)],
)
def test_a_newer_request_ends_a_thought_between_its_guidances_too(
    at: int, told: int, interrupted: int
) -> None:
    links, counts = Links(at), {}
    node = System2Node(Ponderer(), "full", links, links, counts)  # type: ignore[arg-type]
    assert node.think(ASKED) is (NEWER if at < 99 else None)
    assert [guidance.request_id for guidance in links.told] == [ASKED.request_id] * told
    assert counts["interrupted"] == interrupted
    assert links.updates == min(at, 12), "a request that came is not looked for again"
