"""Candidates from servers of other stacks: over real sockets, valued here, missed in peace."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from websockets.sync.server import Server, serve

from dualsys import cli
from dualsys.clock import MonotonicClock
from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.interop.groot_client import GrootWire
from dualsys.interop.groot_server import VERSIONS, Desk, GrootServer
from dualsys.interop.naming import Naming, PeerNames
from dualsys.interop.openpi_client import OpenpiWire
from dualsys.interop.openpi_server import OpenpiServer
from dualsys.interop.peer import Backoff, Peer, PeerConfig
from dualsys.interop.peer_planner import PeerPlanner
from dualsys.messages import Guidance, PlanRequest
from dualsys.runtime import planners
from dualsys.runtime.log import read_log
from dualsys.system2 import checkpoint
from dualsys.system2.blank import blank_request
from dualsys.system2.endpoint import EndpointError
from dualsys.system2.scripted import AnyPlanRule
from dualsys.system2.thinking import ThinkConfig, Thinking
from sim.driving.spec import SPEC
from tests.interop.hosts import free_port, host
from tests.interop.openpi_peer import openpi

EMPTY = PeerNames()
RULE = AnyPlanRule(SPEC.plans)


def naming(protocol: str) -> Naming:
    return Naming.of(SPEC, protocol, EMPTY, whole_state=False)


def request(tick: int = 3, epoch: int = 1) -> PlanRequest:
    made = blank_request(SPEC, tick)
    stamp = msgspec.structs.replace(made.stamp, epoch=epoch)
    observation = msgspec.structs.replace(made.observation, stamp=stamp, instruction="drive on")
    return msgspec.structs.replace(made, stamp=stamp, observation=observation)


class Script:
    """A wire that answers as it is told, on a clock of its own."""

    def __init__(self, *steps: Any, takes_s: float = 0.0) -> None:
        self.steps, self.takes_s, self.now_s = list(steps), takes_s, 0.0
        self.resets = self.closed = self.asked = 0

    def ask(self, told: dict[str, Any], deadline_s: float) -> dict[str, Any]:
        self.asked += 1
        self.now_s += self.takes_s
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, EndpointError):
            raise step
        return {"actions": np.full((40, 2), step, np.float32)}

    def reset(self) -> None:
        self.resets += 1

    def close(self) -> None:
        self.closed += 1


def peer(script: Script) -> Peer:
    return Peer(SPEC, naming("openpi"), script, PeerConfig("ws://x", 1.0), lambda: script.now_s)


def test_every_chunk_is_asked_for_by_itself_and_an_episode_is_begun_once() -> None:
    script = Script(0.1, 0.2, 0.3)
    asked = peer(script)
    np.testing.assert_allclose(asked.chunks(request().observation, 3)[:, 0, 0], [0.1, 0.2, 0.3])
    asked.chunks(request(5).observation, 1)
    assert script.resets == 1
    asked.chunks(request(0, epoch=2).observation, 1)
    assert script.resets == 2


def test_what_the_deadline_leaves_out_is_left_out() -> None:
    assert len(peer(Script(0.1, takes_s=0.4)).chunks(request().observation, 5)) == 3
    late = Script(EndpointError("slow", "late"))
    with pytest.raises(EndpointError, match="slow"):
        peer(late).chunks(request().observation, 5)
    assert late.closed == 1


def test_nobody_there_is_not_asked_again_at_once() -> None:
    script = Script(EndpointError("unreachable", "nobody"))
    asked = peer(script)
    for _ in range(3):
        with pytest.raises(EndpointError, match="unreachable"):
            asked.chunks(request().observation, 1)
    assert script.asked == 1
    script.now_s, script.steps = 0.6, [0.5]
    assert asked.chunks(request().observation, 1).shape == (1, 40, 2)


def test_pauses_double_up_to_a_most() -> None:
    backoff, pauses = Backoff(), []
    for _ in range(6):
        backoff.failed(100.0)
        pauses.append(backoff.left_s(100.0))
    assert pauses == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    backoff.succeeded()
    assert backoff.left_s(100.0) == 0.0


def planner(script: Script, judge: Any = RULE, **config: Any) -> PeerPlanner:
    return PeerPlanner(SPEC, peer(script), "openpi", judge, ThinkConfig(**config))


def test_the_plan_comes_first_and_the_chunk_after_it() -> None:
    first, second = planner(Script(0.5)).think(request(), "short")
    assert (first.final, len(first.candidate)) == (False, 0)
    assert (second.final, second.plan) == (True, first.plan)
    np.testing.assert_allclose(second.candidate, np.clip(np.full((40, 2), 0.5), *box()))


def box() -> tuple[np.ndarray, np.ndarray]:
    return SPEC.action_low, SPEC.action_high


@pytest.mark.parametrize("reason", ["unreachable", "slow", "refused", "malformed"])
def test_without_a_chunk_the_plan_stands_and_the_reason_is_counted(reason: str) -> None:
    thinks = planner(Script(EndpointError(reason, "no")))
    said = list(thinks.think(request(), "short"))
    assert [g.final for g in said] == [False, True]
    assert not any(len(g.candidate) for g in said)
    assert thinks.faults == {reason: 1}


def test_an_answer_of_another_size_is_malformed() -> None:
    script = Script(0.5)
    script.ask = lambda told, deadline_s: {"actions": np.zeros((40, 7))}  # type: ignore[method-assign]
    with pytest.raises(EndpointError, match="has 7 axes, 2 were expected"):
        peer(script).chunks(request().observation, 1)


def test_no_candidates_are_no_question() -> None:
    script = Script(0.5)
    (only,) = planner(script, candidates=0).think(request(), "short")
    assert only.final
    assert script.asked == 0


def test_a_planner_of_ours_values_and_chooses(planner_folder: Path) -> None:
    planning = checkpoint.load(planner_folder, SPEC)
    thinks = planner(Script(-1.0, 0.0, 1.0), planning, candidates=3, choice="random")
    thinks.warm_up("short")
    first, second = thinks.think(request(), "short")
    assert not first.final
    assert second.final
    assert np.isfinite(second.value)
    assert thinks.thought is not None
    assert thinks.thought.values.shape == (3,)
    chosen = thinks.thought.candidates[thinks.thought.chosen]
    np.testing.assert_array_equal(second.candidate, chosen)


def test_foreign_chunks_are_valued_as_our_own_are(planner_folder: Path) -> None:
    planning = checkpoint.load(planner_folder, SPEC)
    planning.normalisation["action_std"] *= 0.01  # none is clipped: it would be another chunk
    config = ThinkConfig(candidates=3, choice="random")
    thinking = Thinking(SPEC, planning, config, request())
    thinking.propose()
    own, values = thinking.chunks.copy(), thinking.values.copy()
    assert np.all((own > SPEC.action_low) & (own < SPEC.action_high))
    thinking.weigh(own)
    np.testing.assert_allclose(thinking.values, values, atol=1e-5)


@contextmanager
def groot(version: str) -> Iterator[str]:
    """A GR00T service of ours in this process; its address."""
    address, over = f"tcp://127.0.0.1:{free_port()}", threading.Event()
    desk = Desk(host("gr00t"), version, 1 << 20, "key")
    with GrootServer(address) as server:

        def loop() -> None:
            while not over.is_set():
                server.serve(desk, MonotonicClock(), 0.01)

        thread = threading.Thread(target=loop)
        thread.start()
        yield address
        over.set()
        thread.join()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_gr00t_service_is_asked_in_its_versions_form(version: str) -> None:
    names = naming("gr00t")
    with groot(version) as address:
        wire = GrootWire(address, version, names, "key")
        asked = Peer(SPEC, names, wire, PeerConfig(address, 5.0))
        chunks = asked.chunks(request().observation, 3)
        np.testing.assert_allclose(chunks[:, 0, 1], [0.0, 0.01, 0.02], atol=1e-7)
        again = asked.chunks(request(0, epoch=2).observation, 1)  # said to be a new episode
        assert again[0, 0, 1] == 0.0
        stranger = Peer(SPEC, names, GrootWire(address, version, names, ""), PeerConfig("", 5.0))
        with pytest.raises(EndpointError, match=r"refused.*token does not fit"):
            stranger.chunks(request().observation, 1)


def test_a_gr00t_service_that_comes_late_is_found() -> None:
    names, address = naming("gr00t"), f"tcp://127.0.0.1:{free_port()}"
    asked = Peer(SPEC, names, GrootWire(address, "n1.7", names, ""), PeerConfig(address, 0.2))
    with pytest.raises(EndpointError, match="slow"):
        asked.chunks(request().observation, 1)
    over = threading.Event()
    with GrootServer(address) as server:
        desk = Desk(host("gr00t"), "n1.7", 1 << 20, "")

        def loop() -> None:
            while not over.is_set():
                server.serve(desk, MonotonicClock(), 0.01)

        thread = threading.Thread(target=loop)
        thread.start()
        patient = PeerConfig(address, 5.0)
        asked = Peer(SPEC, names, GrootWire(address, "n1.7", names, ""), patient)
        assert asked.chunks(request().observation, 1).shape == (1, 8, 2)
        over.set()
        thread.join()


@contextmanager
def upstream(answer: Callable[[dict[str, Any]], Any]) -> Iterator[tuple[str, Server]]:
    """A server as openpi's own: metadata first, errors as text, its package's own arrays."""
    packs = openpi("msgpack_numpy")

    def converse(connection: Any) -> None:
        connection.send(packs.packb({"robot": "none"}))
        for frame in connection:
            try:
                connection.send(packs.packb(answer(packs.unpackb(frame))))
            except ValueError as error:
                connection.send(f"Traceback: {error}")
                connection.close(1011)

    with serve(converse, "127.0.0.1", 0, compression=None, max_size=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}", server


def test_a_server_like_openpis_own_is_asked() -> None:
    seen: list[dict[str, Any]] = []

    def answer(told: dict[str, Any]) -> dict[str, Any]:
        seen.append(told)
        return {"actions": np.full((50, 2), 0.1), "policy_timing": {"infer_ms": 3.0}}

    with upstream(answer) as (url, _):
        asked = Peer(SPEC, naming("openpi"), OpenpiWire(url, ""), PeerConfig(url, 5.0))
        assert asked.chunks(request().observation, 2).shape == (2, 50, 2)
    assert seen[0]["observation/topdown"].shape == (64, 64, 3)
    assert seen[0]["observation/state"].dtype == np.float32
    assert seen[0]["prompt"] == "drive on"


def test_its_error_is_told_and_the_next_question_finds_it_again() -> None:
    answers = iter([ValueError("no weights"), {"actions": np.zeros((50, 2))}])

    def answer(told: dict[str, Any]) -> Any:
        found = next(answers)
        if isinstance(found, ValueError):
            raise found
        return found

    with upstream(answer) as (url, _):
        asked = Peer(SPEC, naming("openpi"), OpenpiWire(url, ""), PeerConfig(url, 5.0))
        with pytest.raises(EndpointError, match=r"refused.*no weights"):
            asked.chunks(request().observation, 1)
        assert asked.chunks(request().observation, 1).shape == (1, 50, 2)


def test_a_server_that_says_nothing_is_slow_and_one_that_is_gone_unreachable() -> None:
    over = threading.Event()

    def answer(told: dict[str, Any]) -> dict[str, Any]:
        over.wait(5.0)
        return {}

    with upstream(answer) as (url, _):
        wire = OpenpiWire(url, "")
        with pytest.raises(EndpointError, match="slow"):
            wire.ask({"x": 1}, 0.3)
        over.set()
    wire.close()
    with pytest.raises(EndpointError, match="unreachable"):
        wire.ask({"x": 1}, 1.0)


def test_a_key_that_does_not_fit_is_refused_with_the_servers_words() -> None:
    with OpenpiServer("127.0.0.1", 0, 1.0, "secret") as server:
        server.begin(host("openpi"))
        url = f"ws://127.0.0.1:{server.port}"
        with pytest.raises(EndpointError, match=r"refused.*the API key does not fit"):
            OpenpiWire(url, "wrong").ask({}, 2.0)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["system2=openpi", "system2.url=http://x"], "must begin with ws://"),
        (["system2=gr00t", "system2.url=tcp://x"], "must be tcp://HOST:PORT"),
        (["system2=gr00t", "system2.peer.version=n9"], r"n1\.5, n1\.6, n1\.7"),
        (["system2=openpi", "system2.peer.action={a: [steering]}"], "missing: acceleration"),
    ],
)
def test_a_configuration_that_can_not_be_is_refused(words: list[str], says: str) -> None:
    config = load("run", ["scenario=driving/merge", "system2.checkpoint=''", *words])
    with pytest.raises(DualsysError, match=says):
        planners.make_planner(config, SPEC, {})


@pytest.mark.rendering
def test_a_drive_is_guided_by_a_servers_chunks(tmp_path: Path, untrained: Path) -> None:
    with upstream(lambda told: {"actions": np.zeros((60, 2))}) as (url, _):
        words = ["eval", "scenario=driving/merge", "system2=openpi", f"system2.url={url}"]
        words += ["system2.checkpoint=''", f"system1.checkpoint={untrained}", "engine=torch"]
        words += ["runtime.episode_s=3", "seeds=0:1", f"out={tmp_path}"]
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
    assert ended.value.code == 0
    told = [m for _, m in read_log(tmp_path / "log.mcap") if isinstance(m, Guidance)]
    assert {len(g.candidate) for g in told} == {0, 60}
