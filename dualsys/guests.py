"""Who may talk to a server and how much: an allow-list, and a bound on the frames of each peer."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict

import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils.monitor import parse_monitor_message

PEERS = 256  # remembered at once
DOMAIN = "dualsys"  # pyzmq takes "*" for no domain at all, not for every one
FAILURES: dict[int, str] = {
    int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): "handshake",
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): "unkeyed",  # no keys, or another server's
    int(zmq.EVENT_HANDSHAKE_FAILED_AUTH): "not_allowed",  # a key that is not on the list
}


class DoorKeeper:
    """Lets in the keys of a list (ZAP), and counts whoever is turned away, by reason."""

    def __init__(self, socket: zmq.Socket[bytes], allowed: tuple[str, ...]) -> None:
        self._allowed = {key.encode() for key in allowed}
        self.refused: Counter[str] = Counter()
        quiet = logging.getLogger("dualsys.zap")
        quiet.addHandler(logging.NullHandler())
        quiet.propagate = False
        self._socket = socket
        self._authenticator = ThreadAuthenticator(socket.context, log=quiet)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(DOMAIN, credentials_provider=self)
        socket.zap_domain = DOMAIN.encode()
        self._events = socket.get_monitor_socket(sum(FAILURES))

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether a public key (Z85) is let in; the authenticator's thread asks."""
        return key in self._allowed

    def look(self) -> Counter[str]:
        """Count who was turned away since the last look."""
        while self._events.poll(0):
            event = parse_monitor_message(self._events.recv_multipart())["event"]
            self.refused[FAILURES.get(int(event), "handshake")] += 1
        return self.refused

    def close(self) -> None:
        """Stop watching; before the socket is closed."""
        self._socket.disable_monitor()
        self._events.close(0)
        self._authenticator.stop()


class RateLimit:
    """So many frames a second from each peer, twice as many at once. Pure."""

    def __init__(self, frames_per_s: float) -> None:
        self._rate = frames_per_s
        self._peers: OrderedDict[bytes, tuple[float, int]] = OrderedDict()  # frames left, since

    def passes(self, peer: bytes, now_ns: int) -> bool:
        """Whether a frame that `peer` sends now is taken."""
        most = 2 * self._rate
        left, since = self._peers.pop(peer, (most, now_ns))
        left = min(most, left + max(0, now_ns - since) / 1e9 * self._rate)
        self._peers[peer] = (left - (left >= 1), now_ns)
        while len(self._peers) > PEERS:
            self._peers.popitem(last=False)
        return left >= 1
