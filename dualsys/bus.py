"""Messages over ZeroMQ: newest-value topics on PUB/SUB, requests on DEALER/ROUTER.

Single-frame messages only. CONFLATE is not used: it loses a message now and then; subscribers drain
to the newest instead. Nothing here blocks unless a timeout is given. One thread per socket.
"""

from __future__ import annotations

import fcntl
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import zmq

from dualsys.codec import MAX_BYTES, decode, encode
from dualsys.errors import CodecError, DualsysError, VersionError
from dualsys.guests import DoorKeeper, RateLimit
from dualsys.keys import Keys
from dualsys.messages import Ack, Admission, Guidance, Introduction, Message, PlanRequest
from dualsys.requests import ClientLink, ServerLink

FRAMES_PER_S = 1000.0  # that a peer may send to a server; System 1 asks once a tick at most
QUEUE = 64  # messages a socket holds for a peer that does not read
# A peer that is gone without a word (its machine, its cable) is noticed by the kernel, in seconds.
# Not by ZeroMQ's own heartbeats: they take a peer that reads slowly for dead, and the reconnection
# that follows can abort the process (libzmq issue 3937). ipc needs neither.
KEEPALIVE = (
    (zmq.TCP_KEEPALIVE, 1),
    (zmq.TCP_KEEPALIVE_IDLE, 1),  # [s]
    (zmq.TCP_KEEPALIVE_INTVL, 1),  # [s]
    (zmq.TCP_KEEPALIVE_CNT, 2),
    (zmq.TCP_MAXRT, 3000),  # [ms] for what was sent and never acknowledged
)


def ipc(folder: Path, name: str) -> str:
    """Endpoint of `name` in a run folder that only this user can enter."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{name}.sock"
    limit = 107  # of a Unix socket address
    if len(str(path).encode()) > limit:
        raise DualsysError(
            f"the socket path {path} has {len(str(path).encode())} bytes, {limit} are possible; "
            "use a shorter run folder"
        )
    return f"ipc://{path}"


def is_local(endpoint: str) -> bool:
    """Whether nobody on another machine can reach an endpoint."""
    return endpoint.startswith(("ipc://", "inproc://", "tcp://127.0.0.1:", "tcp://[::1]:"))


def refuse_open(endpoint: str, keys: Keys | None) -> None:
    """Raise `DualsysError` for an endpoint to bind that others can reach and that lets all in."""
    if not is_local(endpoint) and (keys is None or not keys.allowed):
        what = "no CURVE keys are given" if keys is None else "its keys let nobody in"
        raise DualsysError(
            f"{endpoint} can be reached from other machines and {what}; bind to ipc:// or "
            "tcp://127.0.0.1, or give keys and who is let in (`dualsys keys`)"
        )


class Socket:
    """What every socket of ours has; binds are exclusive, and local unless keys are given."""

    def __init__(self, kind: int, keys: Keys | None, server: bool) -> None:
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(kind)
        self._lock: IO[bytes] | None = None
        self._keys = keys
        self._door: DoorKeeper | None = None
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.SNDHWM, QUEUE),
            (zmq.RCVHWM, QUEUE),
            (zmq.MAXMSGSIZE, MAX_BYTES),
            *KEEPALIVE,
        ):
            self._socket.setsockopt(option, value)
        if keys is not None:
            self._socket.curve_publickey = keys.public.encode()
            self._socket.curve_secretkey = keys.secret.encode()
            if server:
                self._socket.curve_server = True
                if keys.allowed:
                    self._door = DoorKeeper(self._socket, keys.allowed)
            else:
                self._socket.curve_serverkey = keys.server_public.encode()

    def bind(self, endpoint: str) -> None:
        """Bind exclusively. Raises `DualsysError` for a port in use and for an open bind."""
        try:
            refuse_open(endpoint, self._keys)
        except DualsysError:
            self.close()
            raise
        if endpoint.startswith("ipc://"):
            self._claim(Path(endpoint.removeprefix("ipc://")))
        try:
            self._socket.bind(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise DualsysError(
                f"{endpoint} can not be bound ({error}); end the process that uses it or choose "
                "another endpoint"
            ) from error

    def _claim(self, path: Path) -> None:
        # ZeroMQ takes a socket file away from its owner without a word; the lock does not.
        self._lock = path.with_suffix(".lock").open("wb")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            raise DualsysError(
                f"ipc://{path} is in use by another process; end it or choose another run folder"
            ) from error

    def connect(self, endpoint: str) -> None:
        """Connect; the peer may come later, and may go and come again."""
        self._socket.connect(endpoint)

    def poll(self, timeout_ms: int) -> bool:
        """Wait up to `timeout_ms` for a message; True when there is one."""
        return bool(self._socket.poll(timeout_ms))

    def refused(self) -> Counter[str]:
        """Who was turned away at the door so far, by reason."""
        return Counter() if self._door is None else self._door.look()

    def close(self) -> None:
        """Close socket and context; what is queued is dropped."""
        if self._door is not None:
            self._door.close()
        self._socket.close(0)
        self._context.term()
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def wait(timeout_ms: int, *sockets: Socket) -> None:
    """Wait up to `timeout_ms` until one of several has a message."""
    poller = zmq.Poller()
    for socket in sockets:
        poller.register(socket._socket, zmq.POLLIN)
    poller.poll(timeout_ms)


Passing = Callable[[list[bytes]], list[bytes]]  # frames in, and those that come out by now


def _unchanged(frames: list[bytes]) -> list[bytes]:
    return frames


class Publisher(Socket):
    """Sends a topic to whoever listens; a slow listener loses messages, never slows the sender."""

    def __init__(self, endpoint: str, keys: Keys | None = None) -> None:
        super().__init__(zmq.XPUB, keys, server=True)
        self._listeners = 0
        self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)  # told of every subscription, not the first
        self.bind(endpoint)

    def listeners(self) -> int:
        """How many subscribers there are now: what is sent before they are there, they never see.

        A subscriber finds a socket that is bound after it only when it tries again (some 0.1 s).
        """
        for (frame,) in _frames(self._socket):
            self._listeners += 1 if frame[:1] == b"\x01" else -1
        return self._listeners

    def send(self, message: Message) -> None:
        """Send without waiting."""
        self._socket.send(encode(message), zmq.NOBLOCK)


class Subscriber(Socket):
    """Reads a topic: `newest` for control, `every` for the recorder."""

    def __init__(
        self, endpoint: str, keys: Keys | None = None, passing: Passing = _unchanged
    ) -> None:
        """`passing` is what the way here does to frames."""
        super().__init__(zmq.SUB, keys, server=False)
        self.drops: Counter[str] = Counter()
        self._passing = passing
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        self.connect(endpoint)

    def newest(self) -> Message | None:
        """The newest message since the last call, older ones counted; None without one."""
        frames = self._drain()
        if not frames:
            return None
        self.drops["superseded"] += len(frames) - 1
        return self._decode(frames[-1])

    def every(self) -> list[Message]:
        """All messages since the last call, in order."""
        messages = (self._decode(frame) for frame in self._drain())
        return [message for message in messages if message is not None]

    def frames(self) -> list[tuple[bytes, Message]]:
        """All messages since the last call, in order, as they were sent and decoded."""
        read = ((frame, self._decode(frame)) for frame in self._drain())
        return [(frame, message) for frame, message in read if message is not None]

    def _drain(self) -> list[bytes]:
        frames = []
        while True:
            try:
                frames.append(self._socket.recv(zmq.NOBLOCK))
            except zmq.Again:
                return self._passing(frames)

    def _decode(self, frame: bytes) -> Message | None:
        try:
            return decode(frame)
        except CodecError:
            self.drops["undecodable"] += 1
            return None


class RequestClient(Socket):
    """System 1's end of the request link."""

    def __init__(
        self,
        endpoint: str,
        keys: Keys | None = None,
        there: Passing = _unchanged,
        back: Passing = _unchanged,
    ) -> None:
        """`there` and `back` are what the link does to frames on their way."""
        super().__init__(zmq.DEALER, keys, server=False)
        self.link = ClientLink()
        self.foreign = ""  # what is to be said of the other side's protocol version
        self._there, self._back = there, back
        self._admissions: list[Admission] = []
        self.connect(endpoint)

    def introduce(self, introduction: Introduction) -> None:
        """Tell a System 2 elsewhere who asks; what it makes of that comes by `admissions`."""
        self._send([introduction])

    def admissions(self) -> list[Admission]:
        """Answers to introductions that `update` has received since the last call."""
        told, self._admissions = self._admissions, []
        return told

    def ask(self, request: PlanRequest, now_ns: int) -> None:
        """Send a request; a newer one supersedes it."""
        self.link.ask(request, now_ns)
        self.update(now_ns)

    def update(self, now_ns: int) -> list[Guidance]:
        """Receive, acknowledge, resend; returns the guidance that arrived, each once."""
        arrived = []
        replies: list[Message] = []
        for frame in self._back([frames[-1] for frames in _frames(self._socket)]):
            message = self._read(frame)
            if isinstance(message, Admission):
                self._admissions.append(message)
            if not isinstance(message, Ack | Guidance):
                continue
            guidance, ack = self.link.receive(message, now_ns)
            if guidance is not None:
                arrived.append(guidance)
            if ack is not None:
                replies.append(ack)
        self._send([*replies, *self.link.due(now_ns)])
        return arrived

    def _send(self, messages: Sequence[Message]) -> None:
        for frame in self._there([encode(message) for message in messages]):
            _send(self._socket, [frame], self.link.drops)

    def _read(self, frame: bytes) -> Message | None:
        try:
            return decode(frame)
        except VersionError as error:
            self.foreign = str(error)
            self.link.drops["version"] += 1
        except CodecError:
            self.link.drops["undecodable"] += 1
        return None


class RequestServer(Socket):
    """System 2's end of the request link; serves one client, the one that asked last."""

    def __init__(
        self,
        endpoint: str,
        keys: Keys | None = None,
        session: int | None = None,
        frames_per_s: float = FRAMES_PER_S,
    ) -> None:
        """Requests of another `session` are counted and left alone; None: all are taken."""
        super().__init__(zmq.ROUTER, keys, server=True)
        self.link = ServerLink(session)
        self._limit = RateLimit(frames_per_s)
        self._client = b""
        self.bind(endpoint)

    def update(self, now_ns: int) -> PlanRequest | None:
        """Receive, acknowledge, resend; returns the newest request, once."""
        self._receive(now_ns)
        self._send_due(now_ns)
        return self.link.take()

    def answer(self, guidance: Guidance, now_ns: int) -> None:
        """Send guidance until the client has it."""
        self._receive(now_ns)  # an acknowledgement that waits there spares a resend
        self.link.answer(guidance, now_ns)
        self._send_due(now_ns)

    def _receive(self, now_ns: int) -> None:
        for frames in _frames(self._socket):
            peer = frames[0]
            if not self._limit.passes(peer, now_ns):
                self.link.drops["too_many"] += 1
                continue
            message = _read(frames[-1], self.link.drops)
            if not isinstance(message, Ack | PlanRequest):
                continue
            if not self.link.admits(message, of_client=peer == self._client):
                continue
            self._client = peer
            ack = self.link.receive(message)
            if ack is not None:
                _send(self._socket, [peer, encode(ack)], self.link.drops)

    def _send_due(self, now_ns: int) -> None:
        for answer in self.link.due(now_ns):
            _send(self._socket, [self._client, encode(answer)], self.link.drops)


def _frames(socket: zmq.Socket[bytes]) -> list[list[bytes]]:
    received = []
    while True:
        try:
            received.append(socket.recv_multipart(zmq.NOBLOCK))
        except zmq.Again:
            return received


def _read(frame: bytes, drops: Counter[str]) -> Message | None:
    try:
        return decode(frame)
    except CodecError:
        drops["undecodable"] += 1
        return None


def _send(socket: zmq.Socket[bytes], frames: list[bytes], drops: Counter[str]) -> None:
    try:
        socket.send_multipart(frames, zmq.NOBLOCK)
    except zmq.Again:
        drops["queue_full"] += 1  # it is resent when its time comes
