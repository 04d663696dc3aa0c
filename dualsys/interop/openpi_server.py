"""A server that openpi's clients call (openpi-client 0.1): websocket, msgpack with arrays.

First it sends its metadata, then answers every observation with a chunk; a text frame is an error.
A client's mistake leaves its connection open, a fault of ours closes it. Each connection has a
thread, so that signs of life are answered while System 1 computes.
"""

from __future__ import annotations

import http
import logging
import threading
import time
from typing import Any

import msgspec

from dualsys.clock import MonotonicClock
from dualsys.environment import secret
from dualsys.errors import DualsysError
from dualsys.interop.arrays import OPENPI, decode, encode
from dualsys.interop.door import key_fits, require_loopback, stay
from dualsys.interop.host import Answer, Host, host_of, say
from dualsys.interop.naming import actions

CONNECTIONS = 16
ALIVE_S = 10.0  # a client that answers no ping, and takes no answer, for so long is gone


def serve_openpi(config: dict[str, Any]) -> None:
    """Serve until told to end. Raises `DualsysError` for what can not be served."""
    peer, clock = config["peer"], MonotonicClock()
    require_loopback(peer["host"], peer["port"])
    key = secret(peer["key_variable"])
    with OpenpiServer(peer["host"], peer["port"], peer["max_mb"], key) as server:
        host, adviser = host_of(config, "openpi", clock)
        server.begin(host)
        stay(f"ws://{peer['host']}:{server.port}", adviser, clock)


class OpenpiServer:
    """The port and its threads; nobody is let in before `begin`."""

    def __init__(self, host: str, port: int, max_mb: float, key: str) -> None:
        try:
            from websockets.sync.server import serve
        except ImportError as error:
            raise DualsysError(f"openpi's protocol needs the extra `openpi` ({error})") from error
        self._max_bytes, self._key = round(max_mb * 1e6), key
        self._host: Host | None = None
        self._clock, self._open, self._lock = MonotonicClock(), 0, threading.Lock()
        quiet = logging.getLogger("dualsys.openpi")
        quiet.addHandler(logging.NullHandler())
        quiet.propagate = False
        try:
            self._server = serve(
                self._converse,
                host,
                port,
                compression=None,
                max_size=self._max_bytes,
                process_request=self._admit,
                ping_interval=ALIVE_S,
                ping_timeout=ALIVE_S,
                logger=quiet,
            )
        except OSError as error:
            raise DualsysError(
                f"port {port} of {host} can not be bound ({error}); end the process that uses it "
                "or choose another peer.port"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.socket.getsockname()[1])

    def begin(self, host: Host) -> None:
        """Let clients in."""
        self._host = host
        self._thread.start()

    def __enter__(self) -> OpenpiServer:
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()

    def _admit(self, connection: Any, request: Any) -> Any:
        """An HTTP answer for whoever does not come in; None opens the conversation."""
        if request.path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        shown = str(request.headers.get("Authorization", "")).removeprefix("Api-Key ")
        if not key_fits(self._key, shown):
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "the API key does not fit\n")
        if self._open >= CONNECTIONS:
            full = f"{CONNECTIONS} clients are connected, which is all that are served\n"
            return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, full)
        return None

    def _converse(self, connection: Any) -> None:
        """One client, until it goes."""
        assert self._host is not None
        with self._lock:
            self._open += 1
        try:
            connection.send(encode(self._host.about(), OPENPI))
            for frame in connection:
                connection.send(self._reply(connection, frame))
        except OSError as error:  # it went while it was answered
            say(f"a client is gone: {error}")
        finally:
            with self._lock:
                self._open -= 1

    def _reply(self, connection: Any, frame: bytes | str) -> bytes | str:
        """The answer to a frame, text where there is none."""
        assert self._host is not None
        began = time.perf_counter()
        try:
            if isinstance(frame, str):
                raise DualsysError("an observation in msgpack was expected, text has come")
            given, dialect = decode(frame, self._max_bytes)
            if not isinstance(given, dict) or dialect not in (OPENPI, None):
                what = f"arrays of {dialect}" if dialect else type(given).__name__
                raise DualsysError(
                    f"a map with arrays as openpi-client packs them was expected, {what} came; "
                    "this server speaks openpi's protocol (`dualsys serve gr00t` speaks GR00T's)"
                )
            answer = self._host.answer(connection.id, given, self._clock.now_ns())
        except DualsysError as error:
            return f"dualsys: {error}"
        told = self.told(self._host, answer)
        told["server_timing"] = {"infer_ms": 1e3 * (time.perf_counter() - began)}
        return encode(told, OPENPI)

    @staticmethod
    def told(host: Host, answer: Answer) -> dict[str, Any]:
        """An answer under the client's names."""
        rest = msgspec.structs.asdict(answer)
        return actions(host.naming, host.spec, rest.pop("commands")) | rest
