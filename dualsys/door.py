"""The door of a System 2 that serves other machines, and the knock at it from outside.

Behind the door System 2 is the same process as in a run of its own; frames are passed on as they
came.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, NamedTuple

import zmq
from zmq.utils.monitor import parse_monitor_message

from dualsys.bus import Socket
from dualsys.guests import FAILURES, RateLimit
from dualsys.keys import Keys


class Arrival(NamedTuple):
    """One frame: the connection that it came over, and the key that it came under."""

    peer: bytes
    key: str  # "" where no keys are asked for
    frame: bytes


class Door(Socket):
    """Where runs of other machines come in."""

    def __init__(self, endpoint: str, keys: Keys | None, frames_per_s: float) -> None:
        super().__init__(zmq.ROUTER, keys, server=True)
        self._limit = RateLimit(frames_per_s)
        self.too_many = 0
        self.bind(endpoint)

    def arrivals(self, now_ns: int) -> list[Arrival]:
        """What came since the last call; what is too much of one connection is counted."""
        found: list[Arrival] = []
        while True:
            try:
                parts: list[Any] = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return found
            peer = parts[0].bytes
            if self._limit.passes(peer, now_ns):
                found.append(Arrival(peer, _key(parts[-1]), parts[-1].bytes))
            else:
                self.too_many += 1

    def send(self, peer: bytes, frame: bytes) -> None:
        """Answer over a connection; one that is gone is nobody's trouble."""
        with suppress(zmq.Again):
            self._socket.send_multipart([peer, frame], zmq.NOBLOCK)


class Corridor(Socket):
    """From the door to System 2's own socket, and back."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(zmq.DEALER, None, server=False)
        self.connect(endpoint)

    def send(self, frame: bytes) -> None:
        """Pass on; what System 2 does not take in time its asker sends again."""
        with suppress(zmq.Again):
            self._socket.send(frame, zmq.NOBLOCK)

    def frames(self) -> list[bytes]:
        """What System 2 has said since the last call."""
        found = []
        while True:
            try:
                found.append(self._socket.recv_multipart(zmq.NOBLOCK)[-1])
            except zmq.Again:
                return found


def _key(frame: zmq.Frame) -> str:
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""


OPEN, NOBODY = "open", "nobody"


class Knock(Socket):
    """Somebody at the door of an endpoint, who looks whether it opens."""

    def __init__(self, endpoint: str, keys: Keys | None) -> None:
        super().__init__(zmq.DEALER, keys, server=False)
        wanted = sum(FAILURES) | zmq.EVENT_HANDSHAKE_SUCCEEDED
        self._events = self._socket.get_monitor_socket(wanted | zmq.EVENT_DISCONNECTED)
        self.connect(endpoint)

    def answered(self, patience_s: float) -> str:
        """`OPEN`, `NOBODY` within the patience, or why one is turned away (`guests.FAILURES`)."""
        until = time.monotonic() + patience_s
        while (left := until - time.monotonic()) > 0:
            if not self._events.poll(max(1, round(1e3 * left))):
                break
            event = int(parse_monitor_message(self._events.recv_multipart())["event"])
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                return OPEN
            # Who does not share the server's keys is hung up on in the middle of a word.
            return FAILURES.get(event, "unkeyed")
        return NOBODY

    def close(self) -> None:
        """Stop looking."""
        self._socket.disable_monitor()
        self._events.close(0)
        super().close()


def knock(endpoint: str, keys: Keys | None, patience_s: float) -> str:
    """Whether somebody listens at `endpoint` and lets these keys in; see `Knock.answered`."""
    with Knock(endpoint, keys) as knocking:
        return str(knocking.answered(patience_s))
