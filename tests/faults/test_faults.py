from __future__ import annotations

import errno
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from dualsys.clock import VirtualClock
from dualsys.codec import decode, encode
from dualsys.conformity import guidance_fault
from dualsys.errors import DualsysError, UnknownNameError
from dualsys.faults.answers import AnswerFaults
from dualsys.faults.disk import FaultyFile
from dualsys.faults.fault import KINDS, PLACES, Fault, FaultClock, Timetable, declared
from dualsys.faults.frames import FrameFaults
from dualsys.faults.processes import ProcessFaults
from dualsys.faults.sensors import SensorFaults
from dualsys.messages import Action, Guidance, Label, Observation, Stamp
from tests.fakes import SPEC

RATE = round(SPEC.control_rate_hz)


def fault(place: str, kind: str, begin_s: float = 1.0, end_s: float = 3.0) -> Fault:
    return Fault(place, kind, begin_s, end_s)


def observation(tick: int) -> Observation:
    image = np.full((16, 16, 3), tick % 256, np.uint8)
    image[:, :8] += 1
    state = np.array([tick / 1000, -tick / 1000], np.float32)
    scene = np.zeros((1, 3), np.float32)
    return Observation(
        Stamp(1, 0, tick, tick, tick), {"eye": image}, {"eye": tick}, state, scene, ""
    )


def seen(place: str, kind: str) -> list[Observation]:
    """Five seconds of observations, the fault from the second to the third of them."""
    senses = SensorFaults([fault(place, kind)], SPEC)
    return [senses.seen(observation(t), t / RATE) for t in range(5 * RATE)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", ["camera", "state"])
def test_sensors_tell_the_truth_but_for_the_fault_s_time(place: str, kind: str) -> None:
    told = seen(place, kind)
    wrong = []
    for tick, one in enumerate(told):
        true = observation(tick)
        images = one.images.keys() == true.images.keys() and all(
            np.array_equal(one.images[n], true.images[n]) for n in true.images
        )
        same = images and one.image_ticks == true.image_ticks
        same = same and np.array_equal(one.state, true.state)
        if not same:
            wrong.append(tick)
        other = np.array_equal(one.state, true.state) if place == "camera" else images
        assert other, "the other sensor is left alone"
    assert wrong
    assert min(wrong) >= RATE
    assert max(wrong) < 3 * RATE
    share = len(wrong) / (2 * RATE)
    assert 0.2 < share < 0.8 if kind == "intermittent" else share > 0.9


def test_what_sensors_say_in_each_fault() -> None:
    at = 2 * RATE + 5
    assert seen("camera", "off")[at].images == {}
    assert seen("camera", "stuck")[at].image_ticks == {"eye": RATE}
    assert seen("camera", "garbage")[at].images["eye"].shape == (7,)
    mirrored = seen("camera", "wrong")[at].images["eye"]
    np.testing.assert_array_equal(mirrored, observation(at).images["eye"][:, ::-1])
    assert seen("camera", "delayed")[at].image_ticks == {"eye": at - RATE}
    slow = [one.image_ticks["eye"] for one in seen("camera", "slow")[RATE : 3 * RATE]]
    assert len(set(slow)) == 2
    assert seen("state", "off")[at].state.shape == (0,)
    np.testing.assert_array_equal(seen("state", "stuck")[at].state, observation(RATE).state)
    garbage = np.concatenate([one.state for one in seen("state", "garbage")[RATE : 3 * RATE]])
    assert not np.isfinite(garbage).all()
    wrong = seen("state", "wrong")[at].state
    assert np.isfinite(wrong).all()
    assert np.abs(wrong).max() <= 2
    np.testing.assert_array_equal(seen("state", "delayed")[at].state, observation(at - RATE).state)


def action(number: int) -> Action:
    commands = np.full((4, 2), 0.1, np.float32)
    return Action(Stamp(1, 0, number, number, 0), number, commands, 0, 0.0, number, -1, -1, 0)


def guidance(number: int) -> Guidance:
    none = np.zeros((0, 2), np.float32)
    return Guidance(Stamp(1, 0, number, number, 0), number, 0, np.zeros(3, np.float32), none, 0.0,
                    True, 0, "")  # fmt: skip


def said(kind: str, make: Any = action, place: str = "system1") -> list[tuple[float, Any]]:
    faults = AnswerFaults([fault(place, kind)], place, SPEC)
    told: list[tuple[float, Any]] = []
    for tick in range(6 * RATE):
        told += [(tick / RATE, answer) for answer in faults.said(make(tick), tick / RATE)]
    return told


@pytest.mark.parametrize("kind", ["off", "stuck", "slow"])
def test_what_is_done_to_a_process_changes_no_answer(kind: str) -> None:
    assert [answer.stamp.sequence for _, answer in said(kind)] == list(range(6 * RATE))


def test_what_a_system_says_in_each_fault() -> None:
    during = [a for at, a in said("garbage") if 1 <= at < 3]
    assert all(not np.isfinite(a.commands).all() for a in during)
    assert len({a.commands.shape for a in during}) == 2
    during = [a for at, a in said("wrong") if 1 <= at < 3]
    wild = np.concatenate([a.commands for a in during])
    assert np.isfinite(wild).all()
    assert np.abs(wild).max() > 1
    late = {a.stamp.sequence: at for at, a in said("delayed")}
    assert late[RATE] == pytest.approx(2.0)
    assert late[RATE - 1] == pytest.approx((RATE - 1) / RATE)
    assert sorted(late) == list(range(6 * RATE)), "late is not lost"
    kept = Counter(1 <= at < 3 for at, _ in said("intermittent"))
    assert kept[False] == 4 * RATE
    assert 0.2 < kept[True] / (2 * RATE) < 0.8
    during = [a for at, a in said("garbage", guidance, "system2") if 1 <= at < 3]
    assert {guidance_fault(a, SPEC, 8) for a in during} == {"not_finite"}
    during = [a for at, a in said("wrong", guidance, "system2") if 1 <= at < 3]
    assert {guidance_fault(a, SPEC, 8) for a in during} == {None}
    assert {a.plan for a in during} == {0, 1}


def test_only_a_slow_system_pauses() -> None:
    for kind in KINDS:
        faults = AnswerFaults([fault("system1", kind)], "system1", SPEC)
        assert [faults.pause_s(at) for at in (None, 0.5, 2.0, 3.0)] == [
            0.0, 0.0, 1.0 if kind == "slow" else 0.0, 0.0,
        ]  # fmt: skip


def frame(number: int) -> bytes:
    return encode(Label(Stamp(4, 0, number, number, 0), np.zeros(2, np.float32)))


def passed(kind: str) -> list[tuple[float, bytes]]:
    """A frame every tenth of a second for six seconds."""
    now = [0.0]
    link = FrameFaults([fault("link", kind)], "link", lambda: now[0])
    told = []
    for tick in range(60):
        now[0] = tick / 10
        told += [(now[0], out) for out in link.passed([frame(tick)])]
    return told


@pytest.mark.parametrize("kind", KINDS)
def test_frames_pass_before_and_after_a_fault(kind: str) -> None:
    told = passed(kind)
    outside = [out for at, out in told if at < 1 or at >= 4]
    assert set(outside) >= {frame(t) for t in (*range(10), *range(40, 60))}


def test_what_comes_out_of_a_link_in_each_fault() -> None:
    during = {kind: [(at, out) for at, out in passed(kind) if 1 <= at < 3] for kind in KINDS}
    assert during["off"] == []
    assert {out for _, out in during["stuck"]} == {frame(9)}
    assert all(len(out) == len(frame(10)) and out[:2] != b"DS" for _, out in during["garbage"])
    foreign = [decode(out).stamp for _, out in during["wrong"]]
    assert {stamp.session for stamp in foreign} == {5}
    assert [stamp.sequence for stamp in foreign] == list(range(10, 30))
    assert [at for at, _ in during["slow"]] == [1.0, 2.0]
    delayed = {decode(out).stamp.sequence: at for at, out in during["delayed"]}
    assert delayed[10] == pytest.approx(2.0)
    assert 4 < len(during["intermittent"]) < 16
    for kind in ("slow", "delayed"):
        assert {out for _, out in passed(kind)} == {frame(t) for t in range(60)}, "late, not lost"


class Disk:
    """A file that remembers."""

    def __init__(self) -> None:
        self.data, self.closed = b"", False

    def write(self, data: bytes) -> None:
        self.data += data

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def written(kind: str) -> tuple[Disk, FaultyFile, list[int]]:
    """A write of eight bytes every tenth of a second; also the errors' numbers."""
    now, disk, errors = [0.0], Disk(), []
    # A disk that hangs looks at the clock again and again: time goes on for it.
    looks = {"stuck": 0.05}.get(kind, 0.0)

    def since() -> float:
        now[0] += looks
        return now[0]

    file = FaultyFile(disk, Timetable([fault("disk", kind)], "disk"), since)
    for tick in range(40):
        now[0] = max(now[0], tick / 10)
        try:
            file.write(b"%8d" % tick)
        except OSError as error:
            errors.append(error.errno or 0)
    return disk, file, errors


def test_what_a_disk_does_in_each_fault() -> None:
    whole = b"".join(b"%8d" % tick for tick in range(40))
    disk, _, errors = written("off")
    assert errors == [errno.ENOSPC] * 20
    assert disk.data == whole[:80] + whole[240:]
    for kind in ("stuck", "slow", "delayed"):
        disk, file, errors = written(kind)
        assert (disk.data, errors) == (whole, [])
        assert file.tell() == len(whole)
        file.close()
        assert disk.closed
    disk, _, _ = written("garbage")
    assert len(disk.data) == len(whole)
    assert disk.data[:80] + disk.data[240:] == whole[:80] + whole[240:]
    assert disk.data != whole
    disk, file, _ = written("wrong")
    assert len(disk.data) == len(whole) - 20 * 4
    assert file.tell() == len(whole), "it says that it wrote all"
    disk, _, errors = written("intermittent")
    assert set(errors) == {errno.EIO}
    assert 4 < len(errors) < 16


def test_signals_are_due_once() -> None:
    faults = [fault("system1", "off"), fault("recorder", "stuck"), fault("camera", "off"),
              fault("system2", "slow")]  # fmt: skip
    strikes = ProcessFaults(faults)
    assert strikes.due(None) == strikes.due(0.9) == []
    assert sorted(strikes.due(1.0)) == [
        ("recorder", signal.SIGSTOP), ("system1", signal.SIGKILL),
    ]  # fmt: skip
    assert strikes.due(2.9) == []
    assert strikes.due(5.0) == [("recorder", signal.SIGCONT)]
    assert strikes.due(9.0) == []


def test_every_process_counts_from_the_first_tick(tmp_path: Path) -> None:
    clock = VirtualClock(5_000_000_000)
    world, other = FaultClock(tmp_path, clock), FaultClock(tmp_path, clock)
    assert other.since_s() is None
    world.tick(5_000_000_000)
    world.tick(6_000_000_000)  # another one
    clock.advance_to(7_500_000_000)
    assert world.since_s() == other.since_s() == 2.5


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"place": "wheel"}, UnknownNameError, "unknown place of a fault 'wheel'"),
        ({"kind": "tired"}, UnknownNameError, "unknown kind of fault 'tired'"),
        ({"begin_s": -1.0}, DualsysError, "lasts from -1.0 to 3.0 s"),
        ({"end_s": 1.0}, DualsysError, "lasts from 1.0 to 1.0 s"),
        ({"end_s": float("nan")}, DualsysError, "to nan s"),
        ({"end_s": float("inf")}, DualsysError, "to inf s"),
    ],
)
def test_a_fault_that_is_none_is_refused(
    changes: dict[str, Any], error: type[Exception], told: str
) -> None:
    row = {"place": "camera", "kind": "off", "begin_s": 1.0, "end_s": 3.0, **changes}
    with pytest.raises(error, match=told):
        declared({"faults": {"declared": [row]}})


def test_of_several_the_first_declared_counts_and_each_draws_its_own() -> None:
    both = Timetable([fault("link", "off", 1, 3), fault("link", "stuck", 2, 4)], "link")
    assert [both.kind(at) for at in (None, 0.0, 1.0, 2.5, 3.0, 4.0)] == [
        None, None, "off", "off", "stuck", None,
    ]  # fmt: skip
    assert not Timetable([fault("link", "off")], "camera")
    draws = {(place, kind): fault(place, kind).rng().random() for place in PLACES for kind in KINDS}
    assert len(set(draws.values())) == 49
    again = msgspec.structs.replace(fault("link", "off"), seed=1)
    assert again.rng().random() != draws["link", "off"]
