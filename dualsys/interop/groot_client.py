"""A client of GR00T's policy service: a REQ socket, msgpack, arrays in the version's dialect."""

from __future__ import annotations

import weakref
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import zmq

from dualsys.errors import CodecError, DualsysError
from dualsys.interop.arrays import decode, encode
from dualsys.interop.groot_server import VERSIONS, require_version
from dualsys.interop.naming import Naming
from dualsys.system2.endpoint import EndpointError

MAX_BYTES = 16 << 20


class GrootWire:
    """One socket; made anew after a request that got no answer, as REQ demands."""

    def __init__(self, url: str, version: str, naming: Naming, key: str) -> None:
        require_version(version)
        if urlsplit(url).scheme != "tcp" or not urlsplit(url).port:
            raise DualsysError(
                f"system2.url must be tcp://HOST:PORT, it is {url!r}; GR00T's service on this "
                "machine is tcp://127.0.0.1:5555"
            )
        self._url, self._version, self._naming, self._key = url, version, naming, key
        self._context = zmq.Context()
        weakref.finalize(self, self._context.destroy, 0)
        self._socket: zmq.Socket[bytes] | None = None
        self._begin = False

    def ask(self, told: dict[str, Any], deadline_s: float) -> dict[str, Any]:
        """See `dualsys.interop.peer.Wire`."""
        if self._begin:
            self._call("reset", {} if self._version == "n1.5" else {"options": None}, deadline_s)
            self._begin = False
        if self._version == "n1.5":
            flat = {k: [v] if isinstance(v, str) else v[None] for k, v in told.items()}
            return _map(self._call("get_action", flat, deadline_s), self._url)
        data = {"observation": self._nested(told), "options": None}
        answer = self._call("get_action", data, deadline_s)
        if not isinstance(answer, list) or len(answer) != 2:
            what = f"{type(answer).__name__}, an action and its info were expected"
            raise EndpointError("malformed", f"{self._url}: {what}; see system2.peer.version")
        streams = _map(answer[0], self._url)
        return {f"action.{key}": chunk for key, chunk in streams.items()}

    def _nested(self, told: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """By modality, with batch and history of one."""
        nested: dict[str, dict[str, Any]] = {"video": {}, "state": {}, "language": {}}
        for key, value in told.items():
            if isinstance(value, str):
                nested["language"][key] = [[value]]
                continue
            modality = "video" if key in self._naming.images.values() else "state"
            nested[modality][key.removeprefix(f"{modality}.")] = np.asarray(value)[None, None]
        return nested

    def _call(self, endpoint: str, data: dict[str, Any], deadline_s: float) -> Any:
        request: dict[str, Any] = {"endpoint": endpoint, "data": data}
        request |= {"api_token": self._key} if self._key else {}
        if self._socket is None:
            self._socket = self._context.socket(zmq.REQ)
            self._socket.setsockopt(zmq.LINGER, 0)
            self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_BYTES)
            self._socket.connect(self._url)
        self._socket.send(encode(request, VERSIONS[self._version]))
        if not self._socket.poll(round(1e3 * deadline_s)):
            raise EndpointError("slow", f"{self._url}: no answer in time, or nobody is there")
        try:
            answer, _ = decode(self._socket.recv(), MAX_BYTES)
        except CodecError as error:
            raise EndpointError("malformed", f"{self._url}: {error}") from error
        if isinstance(answer, dict) and "error" in answer:
            raise EndpointError("refused", f"{self._url}: {str(answer['error'])[-300:]}")
        return answer

    def reset(self) -> None:
        """Said with the next observation."""
        self._begin = True

    def close(self) -> None:
        """See `dualsys.interop.peer.Wire`."""
        if self._socket is not None:
            self._socket.close(0)
            self._socket = None


def _map(answer: Any, url: str) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise EndpointError("malformed", f"{url}: {type(answer).__name__}, a map was expected")
    return answer
