"""openpi's own client, unmodified, against our server: actions, mistakes, death and flood."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from dualsys.errors import DualsysError
from dualsys.interop.arrays import NPY, OPENPI, decode, encode
from dualsys.interop.door import require_loopback
from dualsys.interop.openpi_server import OpenpiServer
from sim.driving.spec import SPEC
from tests.interop.hosts import Echo, free_port, host
from tests.interop.openpi_peer import openpi
from tests.own_packages import files_of

# What openpi-client does, websockets 17 wants done in another way.
pytestmark = pytest.mark.filterwarnings("ignore:connect.. must be used:DeprecationWarning")
MAX_MB = 0.1
SEEN: dict[str, Any] = {
    "observation/topdown": np.zeros((64, 64, 3), np.uint8),
    "observation/state": np.arange(8.0),
    "prompt": "drive on",
}


@pytest.fixture
def served() -> Iterator[Callable[..., int]]:
    """A server in this process; its port."""
    servers = []

    def begin(own: Any = None, key: str = "", ticks_per_call: int = 1) -> int:
        server = OpenpiServer("127.0.0.1", 0, MAX_MB, key)
        servers.append(server)
        server.begin(host("openpi", own, ticks_per_call))
        return server.port

    yield begin
    for server in servers:
        server.__exit__()


def client(port: int, key: str | None = None) -> Any:
    return openpi("websocket_client_policy").WebsocketClientPolicy("127.0.0.1", port, key)


def test_the_unmodified_client_gets_actions_and_who_answers(served: Callable[..., int]) -> None:
    policy = client(served())
    about = policy.get_server_metadata()
    assert about["images"] == {"observation/topdown": [64, 64, 3]}
    assert about["action"] == {"actions": ["acceleration [m/s2]", "steering [rad]"]}
    assert (about["horizon_ticks"], about["control_rate_hz"]) == (8, 15.0)
    answers = [policy.infer(SEEN) for _ in range(3)]
    assert [a["actions"].shape for a in answers] == [(8, 2)] * 3
    assert [round(float(a["actions"][0, 1]), 4) for a in answers] == [0.0, 0.01, 0.02]
    assert answers[0]["server_timing"]["infer_ms"] > 0


def test_the_pages_client_gets_what_the_page_says(
    served: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    openpi("websocket_client_policy")  # finds the package
    exec(files_of("interop")["client.py"].replace("8000", str(served())), {})
    assert capsys.readouterr().out.startswith("(8, 2) nan")


def test_its_broker_hands_out_our_chunks_tick_by_tick(served: Callable[..., int]) -> None:
    broker = openpi("action_chunk_broker").ActionChunkBroker(client(served(None, "", 4)), 4)
    steering = [round(float(broker.infer(SEEN)["actions"][1]), 4) for _ in range(9)]
    assert steering == [0.0] * 4 + [0.04] * 4 + [0.08]  # each call is four ticks further on


def test_commands_leave_inside_the_limits_of_the_world(served: Callable[..., int]) -> None:
    fast = SEEN | {"observation/state": np.full(8, 1e6)}
    actions = client(served()).infer(fast)["actions"]
    assert (actions[:, 0] == SPEC.action_high[0]).all()


def test_a_mistake_is_told_and_the_conversation_goes_on(served: Callable[..., int]) -> None:
    policy = client(served())
    for wrong, says in (
        ({"observation/state": np.zeros(8)}, "has no 'observation/topdown'"),
        (SEEN | {"observation/state": np.zeros(3)}, "has 3 numbers, 8 were expected"),
        (SEEN | {"tick": -1}, "a whole number above -1 was expected"),
    ):
        with pytest.raises(RuntimeError, match=says):
            policy.infer(wrong)
    assert policy.infer(SEEN)["actions"].shape == (8, 2)
    with pytest.raises(RuntimeError, match="above 0 was expected"):
        policy.infer(SEEN | {"tick": 0})


def test_a_tick_that_is_said_is_believed(served: Callable[..., int]) -> None:
    policy = client(served())
    assert policy.infer(SEEN | {"tick": 5})["actions"][0, 1] == pytest.approx(0.05)
    assert policy.infer(SEEN)["actions"][0, 1] == pytest.approx(0.06)


def test_another_client_begins_another_episode(served: Callable[..., int]) -> None:
    own = Echo()
    port = served(own)
    one, two = client(port), client(port)
    for policy, epoch, steering in ((one, 1, 0.0), (one, 1, 0.01), (two, 2, 0.0), (one, 3, 0.0)):
        assert policy.infer(SEEN)["actions"][0, 1] == pytest.approx(steering)
        assert own.epoch == epoch


def test_another_stacks_dialect_is_told_so(served: Callable[..., int]) -> None:
    with connect(f"ws://127.0.0.1:{served()}", compression=None, proxy=None) as wire:
        wire.recv()
        wire.send(encode(SEEN, NPY))
        assert "arrays of npy came; this server speaks openpi's protocol" in str(wire.recv())
        wire.send("hello")
        assert "text has come" in str(wire.recv())
        wire.send(encode(SEEN, OPENPI))
        assert decode(bytes(wire.recv(decode=False)), 1 << 20)[0]["actions"].shape == (8, 2)


def test_an_oversized_message_ends_that_connection_alone(served: Callable[..., int]) -> None:
    port = served()
    other, policy = client(port), client(port)
    with pytest.raises(ConnectionClosed, match="1009"):
        policy.infer(SEEN | {"extra": np.zeros(1_000_000, np.uint8)})
    assert other.infer(SEEN)["actions"].shape == (8, 2)


def test_a_client_that_reads_nothing_holds_nobody_up(served: Callable[..., int]) -> None:
    port = served()
    with connect(f"ws://127.0.0.1:{port}", compression=None, proxy=None, close_timeout=0.1) as lazy:
        done = threading.Event()

        def flood() -> None:
            try:
                while not done.is_set():
                    lazy.send(encode(SEEN, OPENPI))
            except ConnectionClosed:
                pass

        thread = threading.Thread(target=flood, daemon=True)
        thread.start()
        assert client(port).infer(SEEN)["actions"].shape == (8, 2)
        done.set()


def test_without_the_key_nobody_comes_in(served: Callable[..., int]) -> None:
    port = served(None, "secret")
    for key in (None, "wrong"):
        with pytest.raises(InvalidStatus, match="401"):
            client(port, key)
    assert client(port, "secret").infer(SEEN)["actions"].shape == (8, 2)


def test_too_many_clients_are_turned_away(
    served: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dualsys.interop.openpi_server.CONNECTIONS", 2)
    port = served()
    kept = [client(port) for _ in range(2)]
    with pytest.raises(InvalidStatus, match="503"):
        client(port)
    assert kept[0].infer(SEEN)["actions"].shape == (8, 2)


def test_signs_of_life_are_answered_while_it_computes(served: Callable[..., int]) -> None:
    own = Echo()
    port = served(own)
    own.slow_s = 0.5
    busy = threading.Thread(target=client(port).infer, args=(SEEN,))
    busy.start()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
        assert answer.read() == b"OK\n"
    assert busy.is_alive()
    busy.join()


def test_an_address_that_others_can_reach_is_refused() -> None:
    with pytest.raises(DualsysError, match=r"ssh -L 8000:127\.0\.0\.1:8000 HOST"):
        require_loopback("0.0.0.0", 8000)


def test_a_port_in_use_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(DualsysError, match=r"choose another peer\.port"):
            OpenpiServer("127.0.0.1", taken.getsockname()[1], 1.0, "")


def begin(port: int, folder: Path, checkpoint: Path) -> subprocess.Popen[bytes]:
    words = ["serve", "openpi", "scenario=driving/merge", f"peer.port={port}", "system2=scripted"]
    words += ["trigger=always", "engine=torch", f"system1.checkpoint={checkpoint}"]
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen([sys.executable, "-m", "dualsys", *words], stderr=log)
    until = time.monotonic() + 60
    while time.monotonic() < until and server.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz").close()
            return server
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError((folder / "server.log").read_text())


@pytest.mark.timeout(180)
def test_killed_and_started_again_it_answers_the_next_connection(
    tmp_path: Path, untrained: Path
) -> None:
    port = free_port()
    server = begin(port, tmp_path, untrained)
    policy = client(port)
    assert policy.infer(SEEN)["actions"].shape[1] == 2
    thinkers = children(server.pid)
    assert thinkers, "System 2 is a process of its own"
    server.send_signal(signal.SIGKILL)
    server.wait()
    with pytest.raises(ConnectionClosed):
        policy.infer(SEEN)
    with pytest.raises(OSError, match="refused"):
        client(port)
    server = begin(port, tmp_path, untrained)
    try:
        policy, told = client(port), ""
        for _ in range(600):
            told = policy.infer(SEEN)["plan"] or told  # System 2 is a process that has to load
            if told:
                break
            time.sleep(0.05)
        assert told in SPEC.plans
        thinkers += children(server.pid)
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    finally:
        server.kill()
    said = (tmp_path / "server.log").read_text()
    assert "told to end" in said
    assert "Traceback" not in said
    eventually(lambda: not any(map(alive, thinkers)))


def children(parent: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True)
    return [int(pid) for pid in found.stdout.split()]


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.is_file() and "State:\tZ" not in status.read_text()


def eventually(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)
