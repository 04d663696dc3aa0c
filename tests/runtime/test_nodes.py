"""The nodes of a realtime run on links that only remember what was sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from dualsys.codec import encode
from dualsys.messages import Action, Guidance, Message, PlanRequest, Thought
from dualsys.runtime.log import read_log
from dualsys.runtime.nodes import recorder
from dualsys.runtime.nodes.system1 import System1Node
from dualsys.runtime.nodes.system2 import System2Node
from dualsys.runtime.recording import RecorderConfig, Recording
from dualsys.system1.policy import Policy
from dualsys.system1.timing import PolicyConfig
from dualsys.system2.blank import blank_request
from dualsys.trigger.rules import NeverTrigger, PeriodicTrigger
from tests.fakes import SPEC, PointEngine

NOTHING = np.zeros(0, np.float32)


class Link:
    """Stands for publishers and both ends of the request link."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.asked: list[Message] = []
        self.link = SimpleNamespace(drops=Counter())

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def ask(self, request: PlanRequest, now_ns: int) -> None:
        self.asked.append(request)

    def answer(self, guidance: Guidance, now_ns: int) -> None:
        self.sent.append(guidance)

    def update(self, now_ns: int) -> tuple[Guidance, ...]:
        return ()


class Serving(Link):
    """System 2's end of the request link."""

    def update(self, now_ns: int) -> None:  # type: ignore[override]
        """Nobody asks anything new."""


class TwoAnswers:
    """A planner with two answers, and a thought behind each."""

    faults: Counter[str] = Counter()  # noqa: RUF012
    thought: Thought | None = None

    def think(self, request: PlanRequest, budget: str, stop: object) -> Iterator[Guidance]:
        for number in range(2):
            values, chunks = np.full(2, number, np.float32), np.zeros((2, 4, 2), np.float32)
            self.thought = Thought(request.stamp, request.request_id, {}, {}, chunks, values, 0, {})
            empty = np.zeros((0, 2), np.float32)
            yield Guidance(request.stamp, request.request_id, 0, NOTHING, empty, 0.0, number == 1,
                           0, str(number))  # fmt: skip


def test_a_thought_goes_before_its_guidance_under_one_stamp() -> None:
    counts: dict[str, Any] = {}
    plans, requests = Link(), Serving()
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


def test_messages_are_numbered_from_the_askers_clock() -> None:
    """System 2's own may be another machine's, that was started anew since its earlier life."""
    plans = Link()
    node = System2Node(TwoAnswers(), "short", Serving(), plans, {})
    asked = [(7, 9_000_000_000), (7, 9_500_000_000), (8, 2_000_000_000), (7, 9_900_000_000)]
    for session, time_ns in asked:
        request = blank_request(SPEC, 1)
        stamp = msgspec.structs.replace(request.stamp, session=session, time_ns=time_ns)
        node.think(msgspec.structs.replace(request, stamp=stamp))
    told = [m.stamp.sequence for m in plans.sent if isinstance(m, Guidance)]
    assert told == [9_000_001, 9_000_002, 9_000_003, 9_000_004, 2_000_001, 2_000_002,
                    9_900_001, 9_900_002]  # fmt: skip


def test_a_blind_system_1_answers_every_tick_with_what_it_meant_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = {"system2": {"name": "none"}, "shield": {"max_observation_age_s": 0.1}}
    run = SimpleNamespace(session=0, config=config, spec=SPEC, watchers=0)
    policy = Policy(SPEC, PointEngine(horizon=4), NeverTrigger(), PolicyConfig(blend_ticks=0))
    actions, counts = Link(), dict[str, Any]()
    node = System1Node(run, policy, actions, Link(), Link(), Link(), counts)
    for tick in range(8):
        seen = blank_request(SPEC, 1).observation
        stamp = msgspec.structs.replace(seen.stamp, sequence=tick + 1, tick=tick, time_ns=tick)
        changes: dict[str, Any] = {"stamp": stamp, "image_ticks": {"eye": tick}}
        if tick in (2, 3):
            changes["state"] = np.full(2, np.nan, np.float32)
        if tick == 5:
            changes["images"] = {}
        if tick == 6:
            changes["image_ticks"] = {"eye": 1}
        node.answer(msgspec.structs.replace(seen, **changes))
    told = [m for m in actions.sent if isinstance(m, Action)]
    assert [m.stamp.tick for m in told] == list(range(8))
    assert [m.observation_ns for m in told] == [0, 1, 1, 1, 4, 4, 4, 7]
    assert [len(m.commands) for m in told] == [4, 3, 2, 1, 4, 3, 2, 1]
    np.testing.assert_array_equal(told[3].commands, told[1].commands[2:])
    assert counts["unfit"] == {"unfit": 3, "camera_stale": 1}
    err = capsys.readouterr().err
    assert err.count("state axes ['x', 'y'] of tick 2 are not finite") == 1
    assert "the picture of camera 'eye' at tick 6 is 5 ticks old, 4 are allowed" in err


def test_system_1_tells_the_recorder_what_it_asks() -> None:
    """Also what System 2 never takes up; and nothing where there is no System 2."""
    for planner, wanted in (("scripted", [1, 2]), ("none", [])):
        config = {"system2": {"name": planner}, "shield": {"max_observation_age_s": 0.5}}
        run = SimpleNamespace(session=0, config=config, spec=SPEC, watchers=0)
        policy = Policy(SPEC, PointEngine(), PeriodicTrigger(2), PolicyConfig())
        actions, requests, asked, healths = Link(), Link(), Link(), Link()
        node = System1Node(run, policy, actions, requests, asked, healths, {})
        for tick in range(4):
            seen = blank_request(SPEC, 1).observation
            stamp = msgspec.structs.replace(seen.stamp, sequence=tick + 1, tick=tick)
            ticks = {"eye": tick}
            node.answer(msgspec.structs.replace(seen, stamp=stamp, image_ticks=ticks))
        assert len(actions.sent) == 4
        assert [m.request_id for m in asked.sent] == wanted
        assert asked.sent == requests.asked


class Busy:
    """A topic that is read while System 1 asks and System 2 answers, once between two readings."""

    def __init__(self, everybody: dict[str, Busy], answers: count[int]) -> None:
        self.waiting: list[Message] = []
        self._everybody, self._answers = everybody, answers

    def frames(self) -> list[tuple[bytes, Message]]:
        read, self.waiting = self.waiting, []
        request = blank_request(SPEC, next(self._answers))
        self._everybody["plan_request"].waiting.append(request)
        self._everybody["plan"].waiting += TwoAnswers().think(request, "short", None)
        return [(encode(message), message) for message in read]


def test_the_log_has_a_request_before_its_answers(tmp_path: Path) -> None:
    topics: dict[str, Busy] = {}
    numbers = count(1)
    topics.update({topic: Busy(topics, numbers) for topic in recorder.TOPICS})
    recording = Recording(tmp_path / "log.mcap", {}, RecorderConfig(64.0, 0.5, 0.0, 0.0))
    for _ in range(3):
        recorder.record(list(topics.values()), recording, recorder.Gaps(0))
    recording.close()
    asked: set[int] = set()
    answered = 0
    for _, message in read_log(tmp_path / "log.mcap"):
        if isinstance(message, PlanRequest):
            asked.add(message.request_id)
        elif isinstance(message, Guidance):
            assert message.request_id in asked
            answered += 1
    assert answered > 20
