"""The nodes of a realtime run on links that only remember what was sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np

from dualsys.messages import Guidance, Message, PlanRequest, Thought
from dualsys.runtime.nodes.system2 import System2Node
from dualsys.system2.blank import blank_request
from tests.fakes import SPEC

NOTHING = np.zeros(0, np.float32)


class Link:
    """Stands for publishers and both ends of the request link."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.link = SimpleNamespace(drops=Counter())

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def answer(self, guidance: Guidance, now_ns: int) -> None:
        self.sent.append(guidance)

    def update(self, now_ns: int) -> None: ...


class TwoAnswers:
    """A planner with two answers, and a thought behind each."""

    faults: Counter[str] = Counter()  # noqa: RUF012
    thought: Thought | None = None

    def think(self, request: PlanRequest, budget: str) -> Iterator[Guidance]:
        for number in range(2):
            values, chunks = np.full(2, number, np.float32), np.zeros((2, 4, 2), np.float32)
            self.thought = Thought(request.stamp, request.request_id, {}, {}, chunks, values, 0, {})
            empty = np.zeros((0, 2), np.float32)
            yield Guidance(request.stamp, request.request_id, 0, NOTHING, empty, 0.0, number == 1,
                           0, str(number))  # fmt: skip


def test_a_thought_goes_before_its_guidance_under_one_stamp() -> None:
    counts: dict[str, Any] = {}
    plans, requests = Link(), Link()
    node = System2Node(TwoAnswers(), "short", requests, plans, counts)
    for epoch in (0, 1):
        request = blank_request(SPEC, 1)
        stamp = msgspec.structs.replace(request.stamp, epoch=epoch)
        node.think(msgspec.structs.replace(request, stamp=stamp))
    spoken = [m for m in plans.sent if isinstance(m, Thought | Guidance)]
    assert [type(m) for m in spoken] == [Thought, Guidance] * 4
    for behind, said in zip(spoken[::2], spoken[1::2], strict=True):
        assert behind.stamp == said.stamp
        assert behind.values[0] == float(said.text)
    assert len({m.stamp.place for m in spoken}) == 4
    assert [m.stamp.place for m in requests.sent] == [m.stamp.place for m in spoken[1::2]]
