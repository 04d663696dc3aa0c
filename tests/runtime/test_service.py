"""System 2 as a service, as a process of its own, and runs that are led by it."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from dualsys.bus import RequestClient
from dualsys.codec import encode
from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.handshake import Caller
from dualsys.keys import client_keys, make_keys
from dualsys.messages import Action, Command, Guidance, Health, Introduction, Stamp
from dualsys.runtime.log import read_log
from dualsys.runtime.realtime import realtime
from dualsys.system2.blank import blank_request
from sim import registry
from tests.runtime.test_realtime import configuration
from tests.scripts import ROOT
from tests.test_security import free_port

SPEC = registry.spec_of("driving/highway")


class Served:
    """A service that can be started, killed and started again."""

    def __init__(self, folder: Path, *words: str) -> None:
        make_keys(folder / "keys", ["robot", "other"])
        self.folder, self._words = folder, words
        self.endpoint = f"tcp://127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = [f"link.bind={self.endpoint}", f"link.server_keys={self.folder}/keys", *self._words]
        command = [sys.executable, "-m", "dualsys", "serve", "system2", *words]
        with (self.folder / "said").open("ab") as said:
            self._process = subprocess.Popen(command, cwd=ROOT, stderr=said)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait()

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    def link(self, who: str = "robot") -> dict[str, str]:
        keys = f"{self.folder}/keys/clients/{who}"
        return {"link.requests": self.endpoint, "link.client_keys": keys}

    @contextmanager
    def asked(self, session: int, who: str = "robot", **changes: Any) -> Iterator[Asking]:
        keys = client_keys(self.folder / "keys/clients" / who)
        stamp = Stamp(session, 0, 0, 0, 0)
        words = Introduction(stamp, "0.1.0", SPEC, {}, "short")
        with RequestClient(self.endpoint, keys) as client:
            yield Asking(client, Caller(msgspec.structs.replace(words, **changes)), session)


class Asking:
    """A run that has nothing but its end of the link."""

    def __init__(self, client: RequestClient, caller: Caller, session: int) -> None:
        self.client, self.caller, self.session = client, caller, session
        self.told: list[Guidance] = []

    def until(self, true: Callable[[], bool], seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, f"{self.caller.state}, {self.client.link.drops}"
            now = time.monotonic_ns()
            words = self.caller.due(now)
            if words is not None:
                self.client.introduce(words)
            self.client.poll(10)
            self.told += self.client.update(now)
            for admission in self.client.admissions():
                self.caller.hear(admission, now)

    def becomes(self, state: str) -> None:
        self.until(lambda: self.caller.state == state)

    def ask(self, number: int) -> Guidance:
        request, now = blank_request(SPEC, number), time.monotonic_ns()
        stamp = Stamp(self.session, 0, number, number, now)
        before = len(self.told)
        self.client.ask(msgspec.structs.replace(request, stamp=stamp, request_id=number), now)
        self.until(lambda: len(self.told) > before)
        return self.told[-1]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path, "system2=scripted")
    made.start()
    yield made
    made.end()


def test_runs_follow_one_another_and_a_service_that_was_killed_is_asked_again(
    service: Served,
) -> None:
    with service.asked(1) as first:
        first.becomes("ready")
        assert first.caller.admission is not None
        assert first.caller.admission.planner["name"] == "scripted"
        one = first.ask(1)
        assert (one.stamp.session, one.request_id, one.final) == (1, 1, True)
        with service.asked(2, "other") as second:
            second.becomes("busy")
        two = first.ask(2)
        service.end(signal.SIGKILL)
        service.start()
        three = first.ask(3)
        sequences = [guidance.stamp.sequence for guidance in (one, two, three)]
        assert sequences == sorted(set(sequences)), "its second life is not taken for old"
    with service.asked(3) as after:
        after.becomes("ready")  # once the run before it is quiet
        assert after.ask(1).stamp.session == 3
    assert service.said.count("listening at") == 2
    assert service.said.count("a run introduces itself: driving") == 3


def test_a_run_of_another_protocol_or_budget_is_refused_on_both_sides(service: Served) -> None:
    with service.asked(1, budget="endless") as asking:
        asking.becomes("refused")
        assert asking.caller.admission is not None
        assert "endless is none of none, short, full" in asking.caller.admission.reason
    keys = client_keys(service.folder / "keys/clients/robot")
    with RequestClient(service.endpoint, keys) as newer:
        words = Caller(Introduction(Stamp(5, 0, 0, 0, 0), "9.0", SPEC, {}, "short")).due(0)
        assert words is not None
        frame = encode(words)
        newer._socket.send(frame[:2] + struct.pack("<H", 999) + frame[4:], zmq.NOBLOCK)
        until = time.monotonic() + 20
        reply = b""
        while not reply and time.monotonic() < until:
            if newer.poll(50):
                reply = newer._socket.recv()
        # It can be read by no other version, and every other version says whose it is.
        assert reply[:4] == frame[:4]
    assert "the sender speaks protocol version 999, this side version 1" in service.said
    assert service.said.count("a run is refused") == 1


def test_a_run_of_another_world_is_refused_before_anything_starts(
    planner_folder: Path, untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Served(tmp_path, "system2=vlm", f"system2.checkpoint={planner_folder}")
    made.start()
    try:
        axes = msgspec.structs.replace(SPEC, control_rate_hz=20.0)
        with made.asked(1, spec=axes) as asking:
            asking.becomes("refused")
            assert asking.caller.admission is not None
            reason = asking.caller.admission.reason
            assert "control_rate_hz: the world has 20.0" in reason
            assert f"the planner {planner_folder} has {SPEC.control_rate_hz}" in reason
        assert f"the run is refused: {reason}" in made.said
        words = {"system2": "served", **made.link(), "system2.budget": "endless"}
        config = configuration(tmp_path / "run", untrained, **words)

        def started(*_: object) -> None:
            pytest.fail("processes were started")

        with pytest.raises(DualsysError, match=r"refuses this run: .*endless is none of"):
            realtime(config, "driving/highway", [0], started)
    finally:
        assert made.end() == 0


def test_a_run_with_a_system_2_elsewhere_has_one_clock_in_its_log(
    service: Served, untrained: Path, tmp_path: Path
) -> None:
    words = {"system2": "served", "runtime.duration_s": "3", **service.link()}
    config = configuration(tmp_path / "run", untrained, **words)
    results = realtime(config, "driving/highway", list(range(50)))
    assert set(results["processes"]) == {"recorder", "system1", "world"}
    log = [message for _, message in read_log(tmp_path / "run/log.mcap")]
    commands = [m for m in log if isinstance(m, Command)]
    told = [m for m in log if isinstance(m, Guidance)]
    used = {m.guidance_sequence for m in log if isinstance(m, Action)}
    assert {m.stamp.sequence for m in told} & used
    begin, end = commands[0].stamp.time_ns, commands[-1].stamp.time_ns
    assert all(begin - 10**9 < m.stamp.time_ns < end + 10**9 for m in told)
    assert any(m.process == "system2" for m in log if isinstance(m, Health))
    link = results["link"]
    assert link["served_by"]["name"] == "scripted"
    assert link["answered"] >= 1
    assert link["round_trip"]["p50_ms"] > 0
    assert results["calls"] > 5
    assert json.loads((tmp_path / "run/latency.json").read_text())["system2_ns"]


def test_a_run_that_is_turned_away_says_so_and_one_that_finds_nobody_begins_alone(
    service: Served, untrained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make_keys(tmp_path / "strange", ["robot"])
    strange = {"link.client_keys": f"{tmp_path}/strange/clients/robot"}
    words = {"system2": "served", **service.link(), **strange}
    with service.asked(1) as asking:
        asking.becomes("ready")  # it is up
    config = configuration(tmp_path / "run", untrained, **words)
    with pytest.raises(DualsysError, match="the keys of both sides do not belong together"):
        realtime(config, "driving/highway", [0])
    nobody = {**service.link(), "link.requests": f"tcp://127.0.0.1:{free_port()}"}
    config = configuration(tmp_path / "run", untrained, system2="served", **nobody)

    def started(processes: Any, folder: Path) -> None:
        os.kill(os.getpid(), signal.SIGINT)  # that it began is enough

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            realtime(config, "driving/highway", [0], started)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "the run begins without it, and is joined by it" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["runtime=realtime"], "system2=served needs link.requests"),
        (["runtime=realtime", "link.requests=7300"], "link.requests=7300 is no address"),
        (["runtime=realtime", "link.requests=tcp://10.0.0.9:73"], "no keys are given; give link.c"),
        (
            [
                "runtime=realtime",
                "link.requests=tcp://127.0.0.1:73",
                "faults.declared=[{place: system2, kind: off, begin_s: 1, end_s: 2}]",
            ],
            "declares? .* at the place link",
        ),
    ],
)
def test_a_run_that_could_not_be_served_is_refused(
    words: list[str], told: str, tmp_path: Path
) -> None:
    asked = ["scenario=driving/highway", "system2=served", f"out={tmp_path}", *words]
    with pytest.raises(DualsysError, match=told):
        realtime(load("eval", asked), "driving/highway", [0])
