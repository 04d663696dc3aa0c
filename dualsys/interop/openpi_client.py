"""A client of openpi's policy servers: websocket, msgpack with arrays (openpi 0.1)."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

from dualsys.errors import CodecError, DualsysError
from dualsys.interop.arrays import OPENPI, decode, encode
from dualsys.system2.endpoint import EndpointError

MAX_BYTES = 16 << 20


class OpenpiWire:
    """One websocket; its server's metadata come first."""

    def __init__(self, url: str, key: str) -> None:
        try:
            import websockets.sync.client as client
        except ImportError as error:
            raise DualsysError(f"system2=openpi needs the extra `openpi` ({error})") from error
        if not url.startswith(("ws://", "wss://")):
            raise DualsysError(
                f"system2.url must begin with ws:// or wss://, it is {url!r}; openpi's server on "
                "this machine is ws://127.0.0.1:8000"
            )
        self._client, self._url = client, url
        self._headers = {"Authorization": f"Api-Key {key}"} if key else None
        self._connection: Any = None
        self._opened = ExitStack()  # closes it

    def ask(self, told: dict[str, Any], deadline_s: float) -> dict[str, Any]:
        """See `dualsys.interop.peer.Wire`."""
        from websockets.exceptions import InvalidStatus, WebSocketException

        end_s = time.monotonic() + deadline_s
        try:
            if self._connection is None:
                self._connection = self._open(deadline_s)
            self._connection.send(encode(told, OPENPI))
            frame = self._connection.recv(timeout=max(0.0, end_s - time.monotonic()))
        except TimeoutError as error:
            raise EndpointError("slow", f"{self._url}: no answer in time") from error
        except InvalidStatus as error:
            said = bytes(error.response.body or b"").decode(errors="replace").strip()
            raise EndpointError("refused", f"{self._url}: {error}: {said}") from error
        except (OSError, WebSocketException) as error:
            raise EndpointError("unreachable", f"{self._url}: {error}") from error
        if isinstance(frame, str):  # how this protocol says that something went wrong
            raise EndpointError("refused", f"{self._url}: {frame[-300:]}")
        return self._read(frame)

    def _open(self, deadline_s: float) -> Any:
        with ExitStack() as opened:
            connection = opened.enter_context(
                self._client.connect(
                    self._url,
                    compression=None,
                    max_size=MAX_BYTES,
                    additional_headers=self._headers,
                    open_timeout=deadline_s,
                    close_timeout=0.2,
                    proxy=None,
                )
            )
            self._read(connection.recv(timeout=deadline_s))
            self._opened = opened.pop_all()
        return connection

    def _read(self, frame: bytes | str) -> dict[str, Any]:
        try:
            content, _ = decode(frame if isinstance(frame, bytes) else frame.encode(), MAX_BYTES)
        except CodecError as error:
            raise EndpointError("malformed", f"{self._url}: {error}") from error
        if not isinstance(content, dict):
            raise EndpointError("malformed", f"{self._url}: {type(content).__name__}, no map")
        return content

    def reset(self) -> None:
        """This protocol has no word for it: an episode is a connection."""
        self.close()

    def close(self) -> None:
        """See `dualsys.interop.peer.Wire`."""
        self._opened.close()
        self._connection = None
