"""The door of a System 2 for other machines, on real sockets."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest
import zmq

from dualsys.bus import RequestClient
from dualsys.codec import decode
from dualsys.door import NOBODY, OPEN, Door, knock
from dualsys.errors import DualsysError
from dualsys.keys import Keys, client_keys, make_keys, server_keys
from dualsys.messages import PlanRequest
from tests.test_bus import eventually
from tests.test_requests import request
from tests.test_security import free_port


@pytest.fixture
def endpoint() -> str:
    return f"tcp://127.0.0.1:{free_port()}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_keys(tmp_path / "keys", ["robot"])
    return tmp_path / "keys"


def test_a_knock_tells_who_is_let_in_and_why_others_are_not(folder: Path, endpoint: str) -> None:
    ours, friend = server_keys(folder), client_keys(folder / "clients/robot")
    public, secret = (key.decode() for key in zmq.curve_keypair())
    assert knock(endpoint, friend, 0.3) == NOBODY
    with Door(endpoint, ours, 100.0):
        assert knock(endpoint, friend, 20) == OPEN
        assert knock(endpoint, Keys(public, secret, ours.public), 20) == "not_allowed"
        for misled in (msgspec.structs.replace(friend, server_public=public), None):
            assert knock(endpoint, misled, 20) not in (OPEN, NOBODY, "not_allowed")


def test_every_frame_comes_with_the_key_that_it_was_sent_under(folder: Path, endpoint: str) -> None:
    friend = client_keys(folder / "clients/robot")
    with (
        Door(endpoint, server_keys(folder), 100.0) as door,
        RequestClient(endpoint, friend) as client,
    ):
        client.ask(request(1), time.monotonic_ns())
        (arrival, *_) = eventually(lambda: door.arrivals(time.monotonic_ns()))
        assert arrival.key == friend.public
        assert isinstance(decode(arrival.frame), PlanRequest)
        door.send(b"nobody", b"is told nothing, and nothing breaks")


def test_who_floods_the_door_is_counted(endpoint: str) -> None:
    with Door(endpoint, None, 1.0) as door, RequestClient(endpoint) as client:
        for number in range(1, 9):
            client.ask(request(number), number)
        taken = []
        eventually(lambda: taken.extend(door.arrivals(0)) or door.too_many >= 6)
        assert len(taken) == 2


def test_a_door_that_is_open_to_all_is_not_made() -> None:
    with pytest.raises(DualsysError, match="no CURVE keys are given"):
        Door("tcp://*:47126", None, 100.0)
