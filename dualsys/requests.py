"""Requests and guidance over a lossy link: identifiers, acknowledgement, resend, duplicate drop.

Pure: messages and times in, messages to send out. `dualsys.bus` carries them on DEALER/ROUTER.
A request is resent until it is acknowledged, and again if the acknowledged request has brought no
final answer for a while (the server may have been restarted). A newer request supersedes an older
one that nobody has taken yet. What was being thought about then is still told, as in lockstep: it
is newer than what System 1 has, and a planner slower than it is asked would else never be heard.
"""

from __future__ import annotations

from collections import Counter

import msgspec

from dualsys.messages import Ack, Guidance, PlanRequest

FIRST_RESEND_NS = 20_000_000
LAST_RESEND_NS = 500_000_000
ANSWER_PATIENCE_NS = 2_000_000_000
GIVE_UP_NS = 10_000_000_000


class Resend(msgspec.Struct):
    """One message that waits for its acknowledgement; the pause doubles up to a bound."""

    message: PlanRequest | Guidance
    born_ns: int
    due_ns: int
    pause_ns: int = FIRST_RESEND_NS

    def fire(self, now_ns: int) -> bool:
        """True when it is time to send again; then sets the next time."""
        if now_ns < self.due_ns:
            return False
        self.due_ns = now_ns + self.pause_ns
        self.pause_ns = min(2 * self.pause_ns, LAST_RESEND_NS)
        return True


Key = tuple[int, int, int]  # session, epoch, request identifier


def key_of(message: PlanRequest | Guidance | Ack) -> Key:
    """What a message is about."""
    return message.stamp.session, message.stamp.epoch, message.request_id


class ClientLink:
    """System 1's end: resends the newest request; answers are delivered once each and in order."""

    def __init__(self) -> None:
        self.drops: Counter[str] = Counter()
        self._request: Resend | None = None
        self._in_force: Key | None = None
        self._seen = (0, 0)  # request and sequence of the newest answer that was delivered

    def ask(self, request: PlanRequest, now_ns: int) -> None:
        """Put `request` in force; answers to older ones count until it is answered itself."""
        if self._request is not None:
            self.drops["superseded"] += 1
        self._request = Resend(request, now_ns, now_ns)
        if self._in_force is None or self._in_force[:2] != key_of(request)[:2]:
            self._seen = (0, 0)
        self._in_force = key_of(request)

    def due(self, now_ns: int) -> list[PlanRequest | Guidance]:
        """Messages to send now."""
        request = self._request
        if request is None:
            return []
        if now_ns - request.born_ns > GIVE_UP_NS:
            self.drops["unanswered"] += 1
            self._request = None
            return []
        return [request.message] if request.fire(now_ns) else []

    def receive(self, message: Ack | Guidance, now_ns: int) -> tuple[Guidance | None, Ack | None]:
        """Take one message; return the guidance to deliver and the acknowledgement to send."""
        if isinstance(message, Ack):
            if self._request is not None and key_of(message) == self._in_force:
                self._request.due_ns = now_ns + ANSWER_PATIENCE_NS
            return None, None
        if not _asked(message, self._in_force):
            self.drops["other_request"] += 1
            return None, _ack(message)
        place = message.request_id, message.stamp.sequence
        if place <= self._seen:
            self.drops["duplicate" if place == self._seen else "overtaken"] += 1
            return None, _ack(message)
        self._seen = place
        if message.final and key_of(message) == self._in_force:
            self._request = None
        return message, _ack(message)


class ServerLink:
    """System 2's end for one client: the newest request only; answers resent until acknowledged."""

    def __init__(self, session: int | None = None) -> None:
        """Of another `session` nothing is admitted; None: whatever comes."""
        self.drops: Counter[str] = Counter()
        self._session = session
        self._newest: Key | None = None
        self._waiting: PlanRequest | None = None
        self._answers: dict[int, Resend] = {}

    def receive(self, message: PlanRequest | Ack) -> Ack | None:
        """Take one message; return the acknowledgement to send."""
        if isinstance(message, Ack):
            answer = self._answers.get(message.acknowledged)
            if answer is not None and key_of(message) == key_of(answer.message):
                del self._answers[message.acknowledged]
            return None
        key = key_of(message)
        if key == self._newest:
            self.drops["duplicate"] += 1
        elif self._newest is not None and key[0] == self._newest[0] and key < self._newest:
            self.drops["stale"] += 1  # a resend that was overtaken by a newer request
        else:
            if self._waiting is not None:
                self.drops["superseded"] += 1
            if self._newest is None or self._newest[:2] != key[:2]:
                self._answers.clear()
            self._newest, self._waiting = key, message
        return _ack(message)

    def admits(self, message: PlanRequest | Ack, of_client: bool) -> bool:
        """Whether to receive a message, of the present client or of somebody else; else counts it.

        Of another session nothing is; from somebody else only a newer request, which makes him the
        client. Who repeats what was said gets no answer, and changes nothing.
        """
        key, newest = key_of(message), self._newest
        if self._session is not None and key[0] != self._session:
            self.drops["session"] += 1
            return False
        news = newest is None or key[0] != newest[0] or key > newest
        if of_client or (news and isinstance(message, PlanRequest)):
            return True
        self.drops["other_peer"] += 1
        return False

    def take(self) -> PlanRequest | None:
        """The newest request that nobody has taken yet."""
        request, self._waiting = self._waiting, None
        return request

    def answer(self, guidance: Guidance, now_ns: int) -> None:
        """Send `guidance` until it is acknowledged, or until a newer request is answered.

        Of an episode that is over it is dropped.
        """
        if not _asked(guidance, self._newest):
            self.drops["episode_over"] += 1
            return
        for sequence, resend in list(self._answers.items()):
            if resend.message.request_id < guidance.request_id:
                del self._answers[sequence]
        self._answers[guidance.stamp.sequence] = Resend(guidance, now_ns, now_ns)

    def due(self, now_ns: int) -> list[PlanRequest | Guidance]:
        """Messages to send now."""
        for sequence, resend in list(self._answers.items()):
            if now_ns - resend.born_ns > GIVE_UP_NS:
                self.drops["unacknowledged"] += 1
                del self._answers[sequence]
        return [r.message for r in self._answers.values() if r.fire(now_ns)]


def _asked(guidance: Guidance, newest: Key | None) -> bool:
    """Whether an answer is to the newest request, or to one before it in the same episode."""
    key = key_of(guidance)
    return newest is not None and key[:2] == newest[:2] and key[2] <= newest[2]


def _ack(message: PlanRequest | Guidance) -> Ack:
    return Ack(message.stamp, message.request_id, message.stamp.sequence)
