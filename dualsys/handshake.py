"""How a run and a System 2 on another machine come together. Pure: time comes in as an argument.

The run introduces itself once a second for as long as it lasts, so that a System 2 that was started
again learns anew for whom it thinks. Every answer carries the number of what it answers: the time
that both take is measured on the run's clock alone, for clocks of two machines have nothing in
common.
"""

from __future__ import annotations

from collections import Counter

import msgspec

from dualsys.messages import Admission, Introduction

PERIOD_NS = 1_000_000_000
QUIET_NS = 5_000_000_000  # a run that was not heard for so long makes room for another one
REMEMBERED = 64  # introductions that may still be answered
BUDGETS = ("none", "short", "full")


class Caller:
    """The run's end: when to say who it is, and what came of it."""

    def __init__(self, introduction: Introduction) -> None:
        self._introduction = introduction
        self._sent: dict[int, int] = {}  # when each was said, by its number
        self._due_ns: int | None = None
        self._sequence = 0
        self.admission: Admission | None = None  # the newest
        self.round_trip_ns = 0  # of the newest
        self.said = self.heard = 0

    @property
    def state(self) -> str:
        """What the other side last said; "unheard" before it said anything."""
        return "unheard" if self.admission is None else self.admission.state

    def due(self, now_ns: int) -> Introduction | None:
        """What to say now, if anything."""
        if self._due_ns is not None and now_ns < self._due_ns:
            return None
        self._due_ns = now_ns + PERIOD_NS
        self._sequence += 1
        self.said += 1
        self._sent[self._sequence] = now_ns
        while len(self._sent) > REMEMBERED:
            del self._sent[next(iter(self._sent))]
        place = {"sequence": self._sequence, "time_ns": now_ns}
        stamp = msgspec.structs.replace(self._introduction.stamp, **place)
        return msgspec.structs.replace(self._introduction, stamp=stamp)

    def hear(self, admission: Admission, now_ns: int) -> bool:
        """Take an answer; False for one to nothing that was said, or to what was answered."""
        sent_ns = self._sent.get(admission.stamp.sequence)
        if sent_ns is None or admission.stamp.session != self._introduction.stamp.session:
            return False
        for number in [n for n in self._sent if n <= admission.stamp.sequence]:
            del self._sent[number]  # what was said before it is answered with it
        self.admission, self.round_trip_ns = admission, now_ns - sent_ns
        self.heard += 1
        return True


class Guest(msgspec.Struct):
    """The run that System 2 thinks for: where its messages come from, and under whose key."""

    introduction: Introduction
    peer: bytes
    key: str
    heard_ns: int

    @property
    def session(self) -> int:
        """The run."""
        return self.introduction.stamp.session


class Reception:
    """System 2's end: one run at a time, the one that came first until it is quiet."""

    def __init__(self) -> None:
        self.guest: Guest | None = None
        self.drops: Counter[str] = Counter()

    def greet(self, words: Introduction, peer: bytes, key: str, now_ns: int) -> bool:
        """Take an introduction; False while another run is there.

        The same run may come over a new connection, but under no other key.
        """
        guest = self.guest
        if guest is not None and words.stamp.session == guest.session:
            if key != guest.key:
                self.drops["other_peer"] += 1
                return False
            guest.peer, guest.heard_ns = peer, now_ns
            return True
        if guest is not None and now_ns - guest.heard_ns < QUIET_NS:
            return False
        self.guest = Guest(words, peer, key, now_ns)
        return True

    def admits(self, session: int, peer: bytes, key: str, now_ns: int) -> bool:
        """Whether to pass on what came for a run; counts why not."""
        guest = self.guest
        if guest is None or session != guest.session:
            self.drops["session"] += 1
            return False
        if key != guest.key:
            self.drops["other_peer"] += 1
            return False
        guest.peer, guest.heard_ns = peer, now_ns
        return True
