from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import zmq

from dualsys.bus import Publisher, RequestClient, RequestServer, Subscriber, ipc
from dualsys.errors import DualsysError
from dualsys.keys import Keys
from dualsys.messages import Ack, Stamp
from tests.test_requests import guidance, request

T = TypeVar("T")
ROOT = Path(__file__).parent.parent
SERVER = """
import sys, time
from dualsys.bus import RequestServer
from tests.test_requests import guidance
silent = sys.argv[2] == "silent"
with RequestServer(sys.argv[1]) as server:
    print("up", flush=True)
    while True:
        request = server.update(time.monotonic_ns())
        if request is not None and not silent:
            server.answer(guidance(request.request_id, 1, True), time.monotonic_ns())
        server.poll(5)
"""


def eventually(probe: Callable[[], T | None], patience_s: float = 20.0) -> T:
    """Poll until `probe` returns something; fails loudly when it never does."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        found = probe()
        if found:
            return found
        time.sleep(0.002)
    raise AssertionError(f"nothing within {patience_s} s")


def ack(sequence: int) -> Ack:
    return Ack(Stamp(1, 0, sequence, 0, 0), 1, sequence)


def test_a_subscriber_gets_the_newest_and_counts_the_rest(tmp_path: Path) -> None:
    endpoint = ipc(tmp_path, "a")
    with Publisher(endpoint) as publisher, Subscriber(endpoint) as subscriber:
        eventually(lambda: publisher.send(ack(0)) or subscriber.newest())
        for sequence in range(1, 6):
            publisher.send(ack(sequence))
        seen = []
        eventually(lambda: seen.append(subscriber.newest()) or ack(5) in seen)
        assert seen[-1] == ack(5)


def test_a_publisher_knows_who_listens_and_they_miss_nothing_from_then_on(tmp_path: Path) -> None:
    endpoint = ipc(tmp_path, "a")
    with (
        Subscriber(endpoint) as one,
        Subscriber(endpoint) as other,
        Publisher(endpoint) as publisher,
    ):
        eventually(lambda: publisher.listeners() == 2)
        publisher.send(ack(1))
        for subscriber in (one, other):
            assert eventually(subscriber.every) == [ack(1)]
        other.close()
        eventually(lambda: publisher.listeners() == 1)


def test_who_reads_slowly_is_not_taken_for_dead(tmp_path: Path) -> None:
    """ZeroMQ's heartbeats would, and connect anew: now and then that ends the whole process."""
    endpoint = ipc(tmp_path, "a")
    with Publisher(endpoint) as publisher, Subscriber(endpoint) as subscriber:
        eventually(lambda: publisher.listeners() == 1)
        for sequence in range(3000):  # far more than the queues hold, for three seconds
            publisher.send(ack(sequence))
            assert publisher.listeners() == 1
            time.sleep(0.001)
        eventually(lambda: publisher.send(ack(5000)) or ack(5000) in subscriber.every())
        assert publisher.listeners() == 1


def test_the_recorder_gets_every_message_in_order(tmp_path: Path) -> None:
    endpoint = ipc(tmp_path, "a")
    with Publisher(endpoint) as publisher, Subscriber(endpoint) as subscriber:
        eventually(lambda: publisher.send(ack(0)) or subscriber.every())
        got: list[Ack] = []
        for sequence in range(1, 31):
            publisher.send(ack(sequence))
        eventually(lambda: got.extend(subscriber.every()) or ack(30) in got)
        assert [m.acknowledged for m in got if m.acknowledged > 0] == list(range(1, 31))


def test_a_frame_that_is_not_ours_is_counted_and_harms_nothing(tmp_path: Path) -> None:
    endpoint = ipc(tmp_path, "a")
    with zmq.Context() as context, context.socket(zmq.PUB) as foreign:
        foreign.linger = 0
        foreign.bind(endpoint)
        with Subscriber(endpoint) as subscriber:

            def dropped() -> int:
                foreign.send(b"nonsense")
                assert subscriber.newest() is None
                return subscriber.drops["undecodable"]

            assert eventually(dropped) >= 1


def test_an_endpoint_in_use_is_refused_by_name(tmp_path: Path) -> None:
    for endpoint in (ipc(tmp_path, "a"), "tcp://127.0.0.1:47123"):
        with Publisher(endpoint), pytest.raises(DualsysError, match=r"in use|can not be bound"):
            Publisher(endpoint)


def test_an_open_bind_without_keys_is_refused() -> None:
    with pytest.raises(DualsysError, match="no CURVE keys"):
        Publisher("tcp://0.0.0.0:47124")


def test_only_the_right_keys_get_through() -> None:
    server_public, server_secret = (k.decode() for k in zmq.curve_keypair())
    public, secret = (k.decode() for k in zmq.curve_keypair())
    other = zmq.curve_keypair()[0].decode()
    endpoint = "tcp://127.0.0.1:47125"
    with (
        Publisher(endpoint, Keys(server_public, server_secret)) as publisher,
        Subscriber(endpoint, Keys(public, secret, server_public)) as friend,
        Subscriber(endpoint, Keys(public, secret, other)) as wrongly_keyed,
        Subscriber(endpoint) as without,
    ):
        eventually(lambda: publisher.send(ack(1)) or friend.newest())
        for stranger in (wrongly_keyed, without):
            assert stranger.newest() is None


def test_a_socket_path_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DualsysError, match="shorter run folder"):
        ipc(tmp_path, "x" * 120)


def test_the_run_folder_is_private(tmp_path: Path) -> None:
    ipc(tmp_path / "run", "a")
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700


def start(endpoint: str, mode: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, endpoint, mode], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def test_a_request_survives_the_death_of_its_server(tmp_path: Path) -> None:
    """kill -9 after the acknowledgement; a second process answers the same request."""
    endpoint = ipc(tmp_path, "requests")
    silent = start(endpoint, "silent")
    with RequestClient(endpoint) as client:
        try:
            client.ask(request(1), time.monotonic_ns())
            acknowledged = time.monotonic() + 0.5
            while time.monotonic() < acknowledged:
                assert client.update(time.monotonic_ns()) == []
                time.sleep(0.005)
        finally:
            os.kill(silent.pid, signal.SIGKILL)
            silent.communicate()
        answering = start(endpoint, "answering")
        try:
            (answer,) = eventually(lambda: client.update(time.monotonic_ns()))
            assert (answer.request_id, answer.final) == (1, True)
            assert client.update(time.monotonic_ns()) == []
        finally:
            answering.kill()
            answering.communicate()


def test_answers_arrive_once_and_in_order(tmp_path: Path) -> None:
    endpoint = ipc(tmp_path, "requests")
    with RequestServer(endpoint) as server, RequestClient(endpoint) as client:
        client.ask(request(1), time.monotonic_ns())
        eventually(lambda: server.update(time.monotonic_ns()))
        got = []
        for sequence, final in ((1, False), (2, False), (3, True)):
            server.answer(guidance(1, sequence, final), time.monotonic_ns())

        def pump() -> bool:
            server.update(time.monotonic_ns())
            got.extend(client.update(time.monotonic_ns()))
            return len(got) >= 3

        eventually(pump)
        assert [g.stamp.sequence for g in got] == [1, 2, 3]
        assert np.asarray(got[0].z).size == 0


def test_what_was_acknowledged_is_not_sent_again_with_the_next_answer(tmp_path: Path) -> None:
    endpoint = ipc(tmp_path, "requests")
    with RequestServer(endpoint) as server, RequestClient(endpoint) as client:
        client.ask(request(1), 0)
        eventually(lambda: server.update(0))
        server.answer(guidance(1, 1, False), 0)
        eventually(lambda: client.update(0))
        assert server.poll(20_000), "the acknowledgement waits there"
        later = 1_000_000_000  # a thought in between, far longer than the pause before a resend
        server.answer(guidance(1, 2, True), later)
        eventually(lambda: client.update(later))
        assert not client.poll(100)
        assert client.link.drops["duplicate"] == 0
