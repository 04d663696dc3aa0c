"""A server that GR00T's clients call: a REQ socket of theirs, msgpack, one answer to each request.

`ping`, `get_action`, `get_modality_config` and `reset`. Observations may be flat (`video.CAMERA`,
N1.5) or nested (`video`: CAMERA, since N1.6), arrays of either dialect: the answer is like the
question. `kill` is refused: who asks for actions has no say in how long we live.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import zmq

from dualsys.bus import Socket
from dualsys.clock import Clock, MonotonicClock
from dualsys.environment import secret
from dualsys.errors import DualsysError, UnknownNameError
from dualsys.interop.arrays import MSGPACK_NUMPY, NPY, decode, encode
from dualsys.interop.door import key_fits, require_loopback, stay
from dualsys.interop.host import TICK, Host, host_of
from dualsys.interop.naming import actions

VERSIONS = {"n1.5": NPY, "n1.6": NPY, "n1.7": MSGPACK_NUMPY}  # the dialect that each speaks
UNUSED = ("sin_cos_embedding_keys", "mean_std_embedding_keys", "action_configs")


def require_version(version: str) -> None:
    """Raise `UnknownNameError` for what is no version of GR00T's service."""
    if version not in VERSIONS:
        raise UnknownNameError("peer.version", version, VERSIONS)


def serve_groot(config: dict[str, Any]) -> None:
    """Serve until told to end. Raises `DualsysError` for what can not be served."""
    peer, clock = config["peer"], MonotonicClock()
    require_loopback(peer["host"], peer["port"])
    require_version(peer["version"])
    key = secret(peer["key_variable"])
    address = f"tcp://{peer['host'].replace('localhost', '127.0.0.1')}:{peer['port']}"
    with GrootServer(address.replace("//::1:", "//[::1]:")) as server:
        host, adviser = host_of(config, "gr00t", clock)
        desk = Desk(host, peer["version"], round(peer["max_mb"] * 1e6), key)
        stay(address, adviser, clock, lambda period_s: server.serve(desk, clock, period_s))


class GrootServer(Socket):
    """The socket. Each request gets its answer before the next one is read."""

    def __init__(self, address: str) -> None:
        super().__init__(zmq.ROUTER, None, server=True)
        self.bind(address)

    def serve(self, desk: Desk, clock: Clock, period_s: float) -> None:
        """Answer what comes within a time [s]."""
        if not self.poll(round(1e3 * period_s)):
            return
        *way, frame = self._socket.recv_multipart()
        reply = desk.reply(way[0], frame, clock.now_ns())
        self._socket.send_multipart([*way, reply], zmq.NOBLOCK)


class Desk:
    """A request's bytes in, the answer's out. Pure but for System 2's process."""

    def __init__(self, host: Host, version: str, max_bytes: int, key: str) -> None:
        self._host, self._max_bytes, self._key = host, max_bytes, key
        self._version, self._dialect = version, VERSIONS[version]
        self._endpoints = {
            "ping": self._ping,
            "reset": self._reset,
            "get_action": self._get_action,
            "get_modality_config": self._get_modality_config,
        }

    def reply(self, client: bytes, frame: bytes, now_ns: int) -> bytes:
        """The answer to one request; a map with `error` where there is none."""
        dialect = self._dialect
        try:
            request, spoken = decode(frame, self._max_bytes)
            dialect = spoken or dialect
            return encode(self._answer(client, request, now_ns), dialect)
        except DualsysError as error:
            return encode({"error": f"dualsys: {error}"}, dialect)

    def _answer(self, client: bytes, request: Any, now_ns: int) -> Any:
        if not isinstance(request, dict):
            raise DualsysError(f"a map with an endpoint was expected, got {_kind(request)}")
        if not key_fits(self._key, request.get("api_token")):
            raise DualsysError("the api_token does not fit")
        endpoint, data = request.get("endpoint", "get_action"), request.get("data") or {}
        if endpoint not in self._endpoints:
            raise UnknownNameError("endpoint", str(endpoint), self._endpoints)
        if not isinstance(data, dict):
            raise DualsysError(f"data of {endpoint} is {_kind(data)}, a map was expected")
        return self._endpoints[endpoint](client, data, now_ns)

    def _ping(self, client: bytes, data: Mapping[str, Any], now_ns: int) -> Any:
        return {"status": "ok", "message": "Server is running", **self._host.about()}

    def _reset(self, client: bytes, data: Mapping[str, Any], now_ns: int) -> Any:
        self._host.reset(client)
        return {}

    def _get_action(self, client: bytes, data: Mapping[str, Any], now_ns: int) -> Any:
        nested = "observation" in data
        given = _flat(data["observation"], data.get("options")) if nested else data
        answer = self._host.answer(client, given, now_ns)
        streams = actions(self._host.naming, self._host.spec, answer.commands)
        if not nested:
            return streams
        info = {k: v for k, v in msgspec.structs.asdict(answer).items() if k != "commands"}
        return [{key.removeprefix("action."): chunk[None] for key, chunk in streams.items()}, info]

    def _get_modality_config(self, client: bytes, data: Mapping[str, Any], now_ns: int) -> Any:
        naming = self._host.naming
        keys = {
            "video": list(naming.images.values()),
            "state": list(naming.state),
            "action": list(naming.action),
            "language": [naming.prompt],
        }
        ahead = list(range(self._host.horizon_ticks))
        return {
            modality: self._config(modality, names, ahead if modality == "action" else [0])
            for modality, names in keys.items()
        }

    def _config(self, modality: str, names: list[str], ticks: list[int]) -> dict[str, Any]:
        """GR00T's ModalityConfig, as the version writes it."""
        if self._version == "n1.5":  # its keys carry the modality, its JSON is text
            text = json.dumps({"delta_indices": ticks, "modality_keys": names})
            return {"__ModalityConfig_class__": True, "as_json": text}
        bare = [name.removeprefix(f"{modality}.") for name in names]
        content = {"delta_indices": ticks, "modality_keys": bare, **dict.fromkeys(UNUSED)}
        mark = "__ModalityConfig_class__" if self._version == "n1.6" else "__ModalityConfig__"
        return {mark: True, "as_json": content}


def _flat(observation: Any, options: Any) -> dict[str, Any]:
    """An observation by modality as one of `modality.key`; the language's keys stay as they are."""
    if not isinstance(observation, dict):
        raise DualsysError(f"observation is {_kind(observation)}, a map was expected")
    given: dict[str, Any] = {}
    for modality, part in observation.items():
        if not isinstance(part, dict):
            given[modality] = part
            continue
        prefix = "" if modality == "language" else f"{modality}."
        given |= {f"{prefix}{key}": value for key, value in part.items()}
    tick = options.get(TICK) if isinstance(options, dict) else None
    return given if tick is None else {**given, TICK: tick}


def _kind(value: Any) -> str:
    return "an array" if isinstance(value, np.ndarray) else type(value).__name__
