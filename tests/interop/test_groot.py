"""GR00T's service as its clients see it, and its clients' requests byte for byte."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq

from dualsys.clock import MonotonicClock
from dualsys.errors import UnknownNameError
from dualsys.interop.arrays import DIALECTS, MSGPACK_NUMPY, NPY, decode, encode
from dualsys.interop.groot_server import VERSIONS, Desk, GrootServer, require_version
from dualsys.interop.host import Host
from tests.interop.hosts import free_port
from tests.interop.hosts import host as groot_host

LANGUAGE = "annotation.human.task_description"
IMAGE, STATE = np.zeros((64, 64, 3), np.uint8), np.arange(8, dtype=np.float32)
FLAT = {"video.topdown": IMAGE[None], "state.state": STATE[None], LANGUAGE: ["drive on"]}
NESTED = {
    "video": {"topdown": IMAGE[None, None]},
    "state": {"state": STATE[None, None]},
    "language": {LANGUAGE: [["drive on"]]},
}


@pytest.fixture
def host() -> Host:
    return groot_host("gr00t")


def ask(desk: Desk, request: Any, dialect: str = NPY, client: bytes = b"one") -> Any:
    """What one request is answered, and in which dialect."""
    return decode(desk.reply(client, encode(request, dialect), 0), 1 << 24)


@pytest.mark.parametrize("dialect", [NPY, MSGPACK_NUMPY])
def test_a_flat_observation_gets_flat_actions_in_its_own_dialect(host: Host, dialect: str) -> None:
    desk = Desk(host, "n1.7", 1 << 20, "")
    answer, spoken = ask(desk, {"endpoint": "get_action", "data": FLAT}, dialect)
    assert spoken == dialect
    assert set(answer) == {"action.action"}
    assert (answer["action.action"].shape, answer["action.action"].dtype) == ((8, 2), np.float32)


@pytest.mark.parametrize("dialect", [NPY, MSGPACK_NUMPY])
def test_a_nested_observation_gets_a_batch_of_one_and_its_info(host: Host, dialect: str) -> None:
    desk = Desk(host, "n1.5", 1 << 20, "")
    data = {"observation": NESTED, "options": None}
    (action, info), spoken = ask(desk, {"endpoint": "get_action", "data": data}, dialect)
    assert spoken == dialect
    assert action["action"].shape == (1, 8, 2)
    assert set(info) == {"uncertainty", "plan", "guidance_age_s"}


def test_get_action_is_what_is_asked_where_no_endpoint_is_named(host: Host) -> None:
    assert "action.action" in ask(Desk(host, "n1.5", 1 << 20, ""), {"data": FLAT})[0]


def test_a_reset_begins_an_episode(host: Host) -> None:
    desk = Desk(host, "n1.7", 1 << 20, "")
    data = {"observation": NESTED, "options": None}
    for tick in (0, 1, 2):
        (action, _), _ = ask(desk, {"endpoint": "get_action", "data": data})
        assert action["action"][0, 0, 1] == pytest.approx(0.01 * tick)
    assert ask(desk, {"endpoint": "reset", "data": {"options": None}})[0] == {}
    (action, _), _ = ask(desk, {"endpoint": "get_action", "data": data})
    assert action["action"][0, 0, 1] == 0.0
    later = {"endpoint": "get_action", "data": {**data, "options": {"tick": 7}}}
    assert ask(desk, later)[0][0]["action"][0, 0, 1] == pytest.approx(0.07)


def test_ping_says_who_is_there(host: Host) -> None:
    answer = ask(Desk(host, "n1.7", 1 << 20, ""), {"endpoint": "ping"})[0]
    assert answer["status"] == "ok"
    assert answer["state"]["state.state"][0] == "speed [m/s]"


def config(version: str, host: Host) -> dict[str, Any]:
    desk = Desk(host, version, 1 << 20, "")
    request = encode({"endpoint": "get_modality_config"}, NPY)
    found: dict[str, Any] = msgspec.msgpack.decode(desk.reply(b"", request, 0))
    return found


def test_the_modality_config_is_written_as_each_version_reads_it(host: Host) -> None:
    old, middle, new = (config(version, host) for version in VERSIONS)
    assert set(old) == set(middle) == set(new) == {"video", "state", "action", "language"}
    assert set(old["video"]) == {"__ModalityConfig_class__", "as_json"}
    assert json.loads(old["video"]["as_json"]) == {
        "delta_indices": [0],
        "modality_keys": ["video.topdown"],
    }
    assert middle["action"]["__ModalityConfig_class__"] is True
    assert new["action"]["__ModalityConfig__"] is True
    assert new["action"]["as_json"] == middle["action"]["as_json"]
    assert new["action"]["as_json"]["delta_indices"] == list(range(8))
    assert new["video"]["as_json"]["modality_keys"] == ["topdown"]
    assert new["language"]["as_json"]["modality_keys"] == [LANGUAGE]


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"endpoint": "kill"}, "unknown endpoint 'kill'"),
        (["get_action"], "a map with an endpoint was expected, got list"),
        ({"endpoint": "get_action", "data": [1]}, "data of get_action is list, a map was expected"),
        ({"endpoint": "get_action", "data": {"observation": 3}}, "observation is int"),
        ({"endpoint": "get_action", "data": {"video.topdown": IMAGE}}, "no 'state.state'"),
        (
            {"endpoint": "get_action", "data": FLAT | {"video.topdown": np.zeros((2, 64, 64, 3))}},
            "one robot, the present moment alone",
        ),
    ],
)
def test_a_mistake_is_told_under_error(host: Host, request_: Any, says: str) -> None:
    answer = ask(Desk(host, "n1.7", 1 << 20, ""), request_)[0]
    assert says in answer["error"]


def test_what_can_not_be_read_is_told_under_error(host: Host) -> None:
    desk = Desk(host, "n1.7", 1000, "")
    pickled = Path(__file__).parent.parent / "data" / "wire" / "pickled.msgpack"
    for frame, says in (
        (b"\x80\x04K\x01.", "malformed"),  # a pickle, as the first GR00T sent it
        (pickled.read_bytes(), "array of objects"),
        (encode({"data": FLAT}, NPY), "at most 1000 are taken"),
    ):
        assert says in decode(desk.reply(b"", frame, 0), 1 << 20)[0]["error"]


def test_a_token_that_does_not_fit_gets_nothing(host: Host) -> None:
    desk = Desk(host, "n1.7", 1 << 20, "secret")
    for shown in ({}, {"api_token": "wrong"}, {"api_token": None}):
        assert "token does not fit" in ask(desk, {"endpoint": "ping", **shown})[0]["error"]
    assert ask(desk, {"endpoint": "ping", "api_token": "secret"})[0]["status"] == "ok"


def test_a_version_that_is_none_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"n1\.5, n1\.6, n1\.7"):
        require_version("n2")


@pytest.fixture
def address(host: Host) -> Iterator[str]:
    """A served socket."""
    at = f"tcp://127.0.0.1:{free_port()}"
    with GrootServer(at) as server:
        over = threading.Event()
        desk = Desk(host, "n1.7", 1 << 20, "")

        def loop() -> None:
            while not over.is_set():
                server.serve(desk, MonotonicClock(), 0.01)

        thread = threading.Thread(target=loop)
        thread.start()
        yield at
        over.set()
        thread.join()


@pytest.mark.parametrize("dialect", sorted(set(VERSIONS.values())))
def test_a_req_socket_of_theirs_gets_its_answers(address: str, dialect: str) -> None:
    """What GR00T's own client does: REQ, one msgpack map there, one back."""
    msgpack = pytest.importorskip("msgpack")
    with zmq.Context() as context, context.socket(zmq.REQ) as client:
        client.connect(address)
        for request in ({"endpoint": "ping"}, {"endpoint": "reset", "data": {"options": None}}):
            client.send(msgpack.packb(request))
            assert "error" not in msgpack.unpackb(client.recv())
        write = DIALECTS[dialect].write
        data = {"observation": NESTED, "options": None}
        client.send(msgpack.packb({"endpoint": "get_action", "data": data}, default=write))
        (action, _), spoken = decode(client.recv(), 1 << 20)
        assert (spoken, action["action"].shape) == (dialect, (1, 8, 2))


def test_a_socket_that_is_no_req_harms_nobody(address: str) -> None:
    with zmq.Context() as context:
        with context.socket(zmq.DEALER) as odd:
            odd.connect(address)
            odd.send(b"nonsense")
            assert odd.poll(2000)
            assert b"malformed" in odd.recv()
        with context.socket(zmq.REQ) as client:
            client.connect(address)
            client.send(encode({"endpoint": "ping"}, NPY))
            assert decode(client.recv(), 1 << 20)[0]["status"] == "ok"
