from __future__ import annotations

import heapq
import itertools
from random import Random
from typing import Any

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dualsys.messages import Ack, Guidance, PlanRequest, Stamp
from dualsys.requests import ANSWER_PATIENCE_NS, ClientLink, ServerLink
from tests.test_codec import observation

SEEN = observation(np.zeros((1, 1, 3), np.uint8), np.zeros(2, np.float32))
MS = 1_000_000


def request(number: int) -> PlanRequest:
    stamp = Stamp(1, 0, number, number, 0)
    return PlanRequest(stamp, number, SEEN, np.zeros((0, 0, 0), np.float32), "", 0.0, "short")


def guidance(number: int, sequence: int, final: bool) -> Guidance:
    empty = np.zeros(0, np.float32)
    stamp = Stamp(1, 0, sequence, number, 0)
    return Guidance(stamp, number, 0, empty, empty, 0.0, final, 0, "")


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32),
    st.floats(0, 0.6),
    st.lists(st.integers(0, 400), min_size=1, max_size=5),
)
def test_every_request_in_force_is_answered_once_whatever_the_link_loses(
    seed: int, loss: float, pauses: list[int]
) -> None:
    """A channel that loses, doubles, delays and reorders, in virtual time."""
    # Seeded, not drawn by hypothesis: an adversary could lose everything for ever.
    random = Random(seed)
    client, server = ClientLink(), ServerLink()
    channel: list[tuple[int, int, str, object]] = []
    order, sequences = itertools.count(), itertools.count(1)
    ask_at = [ms * MS for ms in itertools.accumulate(pauses)]
    delivered: list[Guidance] = []
    taken: list[int] = []

    def send(now: int, to: str, message: object) -> None:
        for _ in range(random.choice([1, 1, 2])):
            if random.random() >= loss:
                delay = random.randint(0, 30) * MS
                heapq.heappush(channel, (now + delay, next(order), to, message))

    for now in range(0, 9_000 * MS, 5 * MS):
        while ask_at and ask_at[0] <= now:
            ask_at.pop(0)
            client.ask(request(len(pauses) - len(ask_at)), now)
        while channel and channel[0][0] <= now:
            _, _, to, message = heapq.heappop(channel)
            if to == "server":
                assert isinstance(message, PlanRequest | Ack)
                ack = server.receive(message)
                if ack is not None:
                    send(now, "client", ack)
            else:
                assert isinstance(message, Guidance | Ack)
                news, ack = client.receive(message, now)
                if news is not None:
                    delivered.append(news)
                if ack is not None:
                    send(now, "server", ack)
        thought = server.take()
        if thought is not None:
            taken.append(thought.request_id)
            for final in (False, True):
                server.answer(guidance(thought.request_id, next(sequences), final), now)
        for to, link in (("server", client), ("client", server)):
            for message in link.due(now):
                send(now, to, message)

    last = len(pauses)
    places = [(g.request_id, g.stamp.sequence) for g in delivered]
    assert places == sorted(set(places)), "each once, none after a newer one"
    assert delivered[-1].request_id == last
    assert delivered[-1].final
    assert sum(g.final and g.request_id == last for g in delivered) == 1
    assert taken == sorted(set(taken))
    assert not client.due(9_001 * MS)


def test_a_restarted_server_is_asked_again() -> None:
    client, first = ClientLink(), ServerLink()
    client.ask(request(1), 0)
    (sent,) = client.due(0)
    ack = first.receive(sent)
    assert ack is not None
    client.receive(ack, 1 * MS)
    assert client.due(1000 * MS) == []  # acknowledged: patience
    (again,) = client.due(1 * MS + ANSWER_PATIENCE_NS)
    second = ServerLink()
    second.receive(again)
    thought = second.take()
    assert thought is not None
    assert thought.request_id == 1


def test_a_thought_that_was_overtaken_is_heard_until_a_newer_one_is() -> None:
    client, server = ClientLink(), ServerLink()
    for number in (1, 2):
        client.ask(request(number), number)
        (sent,) = client.due(number)
        assert isinstance(sent, PlanRequest)
        server.receive(sent)
        if number == 1:
            assert server.take() is not None  # the second comes while it is thought about
    server.answer(guidance(1, 1, True), 3)
    (late,) = server.due(3)
    assert isinstance(late, Guidance)
    news, ack = client.receive(late, 4)
    assert news is not None
    assert news.request_id == 1
    assert ack is not None
    server.receive(ack)
    assert server.due(10_000 * MS) == [], "it is acknowledged"
    assert client.due(1000 * MS), "the second request still waits for its own answer"
    for number, told in ((2, True), (1, False)):
        news, ack = client.receive(guidance(number, 4 - number, True), 5)
        assert (news is not None) == told
        assert ack is not None, "so that the server stops resending it"
    assert client.drops == {"superseded": 1, "overtaken": 1}


def test_answers_to_what_was_never_asked_and_to_episodes_that_are_over_are_dropped() -> None:
    client, server = ClientLink(), ServerLink()
    client.ask(request(2), 0)
    for other in (guidance(3, 1, True), of_epoch(guidance(2, 1, True), 1)):
        assert client.receive(other, 1)[0] is None
    assert client.drops["other_request"] == 2
    server.receive(request(2))
    server.answer(of_epoch(guidance(2, 1, True), 1), 0)
    assert server.due(0) == []
    assert server.drops["episode_over"] == 1
    client.receive(guidance(2, 5, False), 2)
    again = of_epoch(request(1), 1)
    client.ask(again, 3)
    first, _ = client.receive(of_epoch(guidance(1, 1, True), 1), 4)
    assert first is not None, "identifiers begin anew"


def of_epoch(message: Any, epoch: int) -> Any:
    """The same message, of another episode."""
    return msgspec.structs.replace(
        message, stamp=msgspec.structs.replace(message.stamp, epoch=epoch)
    )
