"""A bad wire between two machines, and what a cut of it came to."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.bench.parted import parting
from dualsys.bench.wire import WORKSTATION, Cable, two_machines
from dualsys.errors import DualsysError
from dualsys.messages import Action, Command, Guidance, Stamp
from tests.fakes import SPEC
from tests.scripts import run

MS, S = 1_000_000, 1_000_000_000
PERIOD = SPEC.period_ns
QUIET = {"missed": 0, "missed_outside_stalls": 0, "stalls": 0}


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 50)), max_size=50), st.integers(0, 40))
def test_packets_come_out_late_in_order_and_on_the_other_side(
    sent: list[tuple[int, int]], delay_ms: int
) -> None:
    cable, now = Cable(delay_ms * MS, 0.0, np.random.default_rng(0)), 0
    due: dict[int, list[tuple[int, bytes]]] = {0: [], 1: []}
    for number, (way, pause_ms) in enumerate(sent):
        now += pause_ms * MS
        packet = str(number).encode()
        cable.put(way, packet, now)
        due[way].append((now + delay_ms * MS, packet))
    first = min((at for packets in due.values() for at, _ in packets), default=None)
    assert cable.next_ns() == first
    for way, packets in due.items():
        before = [p for at, p in packets if at <= now]
        assert cable.due(way, now) == before
        assert cable.due(way, now + 1000 * MS) == [p for _, p in packets[len(before) :]]
    assert cable.next_ns() is None
    assert (cable.carried, cable.lost) == (len(sent), 0)


def test_a_share_of_the_packets_is_lost_and_all_of_them_while_it_is_cut() -> None:
    cable = Cable(0, 0.02, np.random.default_rng(0))
    for _ in range(10_000):
        cable.put(0, b"", 0)
        cable.due(0, 0)
    assert 150 < cable.lost < 250
    before, cable.cut = cable.lost, True
    for _ in range(100):
        cable.put(1, b"", 0)
    assert cable.lost == before + 100
    assert cable.due(1, S) == []
    cable.cut = False
    for _ in range(5000):  # nobody takes them: a queue has an end
        cable.put(1, b"", 0)
    assert len(cable.due(1, S)) == 1000


class Drive:
    """The log of a run whose answers come every half second, but not while the link is cut."""

    def __init__(self, cut_s: tuple[float, float], back_s: float) -> None:
        self.cut_ns = (round(cut_s[0] * S), round(cut_s[1] * S))
        self.log: list[Any] = []
        told_tick, sequence = -1, 0
        for tick in range(round(20 * S / PERIOD)):
            now = tick * PERIOD
            cut = self.cut_ns[0] <= now < self.cut_ns[1] + round(back_s * S)
            if now // (S // 2) != (now - PERIOD) // (S // 2) and not cut:
                told_tick, sequence = tick, sequence + 1
                empty = np.zeros(0, np.float32)
                stamp = Stamp(1, 0, sequence, tick, now)
                chunk = np.zeros((0, 2), np.float32)
                self.log.append(Guidance(stamp, 1, 0, empty, chunk, 0.0, True, 0, ""))
            age = tick - told_tick if told_tick >= 0 else -1
            stamp = Stamp(1, 0, tick, tick, now)
            commands = np.zeros((2, 2), np.float32)
            self.log.append(Action(stamp, tick, commands, now, 0.0, tick, sequence, age, 0))
            rung = "fresh" if age * PERIOD <= S else "ageing"
            nothing = np.zeros(2, np.float32)
            self.log.append(Command(stamp, nothing, "system1", (), tick, 0, nothing, rung))


def test_a_cut_is_told_by_what_the_guidance_did() -> None:
    drive = Drive((8.0, 11.0), back_s=0.6)
    found = parting(drive.log, drive.cut_ns, QUIET, SPEC)
    assert found.amiss == ()
    assert found.cut_s == (8.0, 11.0)
    assert found.answers["during"] == 0
    assert found.oldest_s["before"] < 0.6
    assert 2.5 < found.oldest_s["during"] <= 3.5
    assert found.rungs["during"]["ageing"] > found.rungs["during"].get("fresh", 0)
    assert found.heard_after_s == pytest.approx(1.0)
    assert found.fresh_after_s == pytest.approx(1.0)
    assert [at for at, _, _ in found.line] == sorted(at for at, _, _ in found.line)
    assert max(age for _, age, _ in found.line if age is not None) > 3


def test_what_is_amiss_is_said() -> None:
    drive = Drive((8.0, 11.0), back_s=100.0)
    late = {"missed": 5, "missed_outside_stalls": 2, "stalls": 1}
    wild = msgspec.structs.replace(drive.log[-1], command=np.full(2, np.nan, np.float32))
    held = [
        msgspec.structs.replace(m, source="fallback")
        if isinstance(m, Command) and m.stamp.tick == 50
        else m
        for m in drive.log[:-1]
    ]
    found = parting([*held, wild], drive.cut_ns, late, SPEC)
    assert set(found.amiss) == {
        "System 1 missed 2 ticks",
        "1 unsafe commands",
        "1 ticks without System 1",
        "nothing was answered after the cut",
        "the guidance was never fresh again",
    }
    through = Drive((15.0, 15.0), back_s=0.0)
    uncut = parting(through.log, (15 * S, 18 * S), QUIET, SPEC).amiss
    assert "the guidance did not age" in uncut
    assert any(words.endswith("answers came through the cut") for words in uncut)


@functools.cache
def can_be_made() -> str:
    """Why two namespaces can not be made here; "" where they can."""
    try:
        with two_machines(Cable(0, 0.0, np.random.default_rng(0))):
            return ""
    except DualsysError as error:
        return str(error)


needs_namespaces = pytest.mark.skipif(bool(can_be_made()), reason=can_be_made())


@needs_namespaces
def test_two_machines_reach_each_other_over_the_wire_alone_and_leave_nothing() -> None:
    listen = "import socket,sys; s=socket.create_server(('', 7)); print(1, flush=True); \
        c,_=s.accept(); c.sendall(c.recv(9))"
    speak = f"import socket; c=socket.create_connection(('{WORKSTATION}', 7), 20); \
        c.sendall(b'hello'); print(c.recv(9).decode())"
    cable = Cable(10 * MS, 0.0, np.random.default_rng(0))
    with two_machines(cable) as (robot, workstation, _):
        inside = ["ip", "netns", "exec"]
        python = ["python3", "-c"]
        server = subprocess.Popen(
            [*inside, workstation, *python, listen], stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        server.stdout.readline()
        said = subprocess.run(
            [*inside, robot, *python, speak], capture_output=True, text=True, check=True
        )
        server.wait()
        server.stdout.close()
        assert said.stdout == "hello\n"
        assert cable.carried > 5
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    assert str(os.getpid()) not in left.stdout
    assert "wire" not in {thread.name for thread in threading.enumerate()}


@needs_namespaces
@pytest.mark.slow
def test_a_cut_between_two_machines_costs_system_1_no_tick(untrained: Path, tmp_path: Path) -> None:
    words = ["--planner", "scripted", "--duration-s", "8", "--cut-s", "1.5"]
    words += ["trigger.period_s=0.3", "ladder.ageing_s=0.5", f"system1.checkpoint={untrained}"]
    done = run("launch/deploy/two_namespaces.py", "--out", tmp_path / "two.json", *words)
    assert (tmp_path / "two.json").is_file(), done.stderr
    (found,) = json.loads((tmp_path / "two.json").read_text())["rounds"]
    # Whether a tick was late here is the machine's business; what the link did is ours.
    amiss = [words for words in found["amiss"] if "missed" not in words and "without" not in words]
    assert amiss == [], done.stdout + done.stderr
    assert found["rungs"]["during"]["ageing"] > 0
    assert found["link"]["round_trip"]["p50_ms"] >= 40
    assert found["wire"]["lost"] > 0
    assert "the link is cut from" in done.stdout


def test_a_cut_that_leaves_no_time_to_recover_is_refused(tmp_path: Path) -> None:
    words = ["--duration-s", "8", "--cut-s", "3", "--out", tmp_path / "two.json"]
    done = run("launch/deploy/two_namespaces.py", *words)
    assert done.returncode == 2
    assert "--duration-s has to be 4 times --cut-s at least" in done.stderr
