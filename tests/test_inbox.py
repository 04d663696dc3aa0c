from __future__ import annotations

from dualsys.inbox import Inbox
from dualsys.messages import Ack, Stamp


def ack(session: int = 1, epoch: int = 0, sequence: int = 1) -> Ack:
    return Ack(Stamp(session, epoch, sequence, 0, 0), 1, 1)


def test_the_newest_message_is_kept_and_the_rest_counted_by_reason() -> None:
    inbox: Inbox[Ack] = Inbox(session=1, epoch=0)
    assert inbox.offer(ack(sequence=5), now_ns=10)
    assert not inbox.offer(ack(sequence=5), now_ns=11)
    assert not inbox.offer(ack(sequence=4), now_ns=12)
    assert not inbox.offer(ack(session=2, sequence=9), now_ns=13)
    assert not inbox.offer(ack(epoch=1, sequence=9), now_ns=14)
    assert inbox.newest == ack(sequence=5)
    assert inbox.drops == {"duplicate": 1, "stale": 1, "session": 1, "epoch": 1}


def test_nothing_of_the_last_episode_survives_a_reset() -> None:
    inbox: Inbox[Ack] = Inbox(session=1, epoch=0)
    inbox.offer(ack(), now_ns=10)
    inbox.reset(epoch=1)
    assert inbox.newest is None
    assert inbox.age_ns(20) is None
    assert not inbox.offer(ack(epoch=0, sequence=2), now_ns=20)
    assert inbox.offer(ack(epoch=1, sequence=1), now_ns=21)


def test_age_rate_and_life_are_computed_from_arrival_times() -> None:
    inbox: Inbox[Ack] = Inbox(session=1, epoch=0)
    for number in range(5):
        inbox.offer(ack(sequence=number + 1), now_ns=number * 1_000_000)
    assert inbox.rate_hz() == 1000.0
    assert inbox.age_ns(5_000_000) == 1_000_000
    assert inbox.alive(13_999_999, period_ns=1_000_000)
    assert not inbox.alive(14_000_000, period_ns=1_000_000)
