from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import msgspec
import numpy as np
import pytest

from dualsys.errors import DualsysError
from dualsys.messages import Action, Command, Guidance, Label, Message, PlanRequest
from dualsys.runtime.latency import (
    DistributionLatency,
    FixedLatency,
    LatencyModel,
    TickLatency,
    Trace,
    TraceLatency,
)
from dualsys.runtime.lockstep import Lockstep
from dualsys.runtime.log import LogWriter, concatenate, read_header, read_log
from dualsys.shield.shield import Shield, ShieldConfig
from dualsys.system1.policy import Policy
from dualsys.system1.timing import PolicyConfig
from dualsys.system2.scripted import InstructionRule, ScriptedPlanner
from dualsys.trigger.rules import PeriodicTrigger, Trigger
from tests.fakes import SPEC, PointEngine, PointWorld
from tests.shield.plants import ladder


def lockstep(latency: LatencyModel, trigger: Trigger | None = None) -> Lockstep:
    policy = Policy(
        SPEC, PointEngine(), trigger or PeriodicTrigger(5), PolicyConfig(replan_ticks=4)
    )
    planner = ScriptedPlanner(SPEC, InstructionRule({PointWorld.instruction: "go"}))
    shield = Shield(SPEC, ShieldConfig(max_observation_age_s=0.5), ladder())
    return Lockstep(PointWorld(), policy, planner, shield, latency, session=42)


def run(
    folder: Path, latency: LatencyModel, epochs: tuple[int, ...] = (0,), **kwargs: Trigger
) -> list[tuple[str, Message]]:
    path = folder / "log.mcap"
    runner = lockstep(latency, **kwargs)
    with LogWriter(path, {"a": 1}) as log:
        for epoch in epochs:
            runner.run(epoch, epoch, log)
    return list(read_log(path))


def of(kind: type, log: list[tuple[str, Message]]) -> Iterator[Message]:
    return (message for _, message in log if isinstance(message, kind))


def test_the_same_episode_gives_the_same_bytes_whatever_ran_before(tmp_path: Path) -> None:
    latency = DistributionLatency(1, 100.0, 300.0, seed=3)
    for name, epochs in (("a", (0, 1, 2)), ("b", (2,))):
        runner = lockstep(latency)
        for epoch in epochs:
            with LogWriter(tmp_path / f"{name}{epoch}.mcap", {}) as log:
                runner.run(epoch, epoch, log)
    assert (tmp_path / "a2.mcap").read_bytes() == (tmp_path / "b2.mcap").read_bytes()


@pytest.mark.parametrize("ticks", [0, 1, 3])
def test_a_command_comes_from_the_observation_that_many_ticks_ago(
    tmp_path: Path, ticks: int
) -> None:
    commands = list(of(Command, run(tmp_path, FixedLatency(ticks, 0.0))))
    assert [c.source for c in commands[:ticks]] == ["fallback"] * ticks
    assert all(c.observation_age_ns == ticks * SPEC.period_ns for c in commands[ticks:])


def test_guidance_arrives_when_its_latency_has_passed_and_not_before(tmp_path: Path) -> None:
    log = run(tmp_path, FixedLatency(0, system2_ms=120.0))
    requests = {r.request_id: r for r in of(PlanRequest, log)}
    answers = list(of(Guidance, log))
    assert answers
    for answer in answers:
        request = requests[answer.request_id]
        assert answer.stamp.time_ns - request.stamp.time_ns == 120_000_000
        assert answer.stamp.tick == request.stamp.tick
    used = [a for a in of(Action, log) if a.guidance_sequence >= 0]
    assert min(a.stamp.tick for a in used) == 3  # 120 ms are three ticks of 50 ms


def test_a_busy_planner_thinks_about_the_newest_request_only(tmp_path: Path) -> None:
    runner = lockstep(FixedLatency(0, system2_ms=100.0), PeriodicTrigger(1))
    with LogWriter(tmp_path / "log.mcap", {}) as log:
        record = runner.run(0, 0, log)
    answers = list(of(Guidance, list(read_log(tmp_path / "log.mcap"))))
    gaps = np.diff([a.stamp.tick for a in answers])
    assert len(gaps) > 2
    assert set(gaps[1:]) == {2}  # the second thought begins before tick 2 can ask
    assert runner.drops["superseded"] >= record.row["calls"] // 2 - 1


def test_late_guidance_never_delays_the_tick(tmp_path: Path) -> None:
    never = list(of(Command, run(tmp_path, FixedLatency(1, system2_ms=1e6))))
    assert all(c.source == "system1" for c in never[1:])


def test_the_trace_is_replayed_from_a_place_that_the_epoch_decides() -> None:
    trace = TraceLatency(Trace(1, [[10], [20], [30], [40]], "m"))
    trace.reset(1)
    first = [trace.answers_ns(1) for _ in range(5)]
    trace.reset(0)
    trace.reset(1)
    assert [trace.answers_ns(1) for _ in range(5)] == first
    assert sorted(first[:4]) == [[10], [20], [30], [40]]


def test_a_recorded_thought_is_stretched_over_another_number_of_answers() -> None:
    trace = TraceLatency(Trace(1, [[10, 30, 90]], "m"))
    assert trace.answers_ns(3) == [10, 30, 90]
    assert trace.answers_ns(1) == [90]
    assert trace.answers_ns(2) == [10, 90]


class Slow:
    """A planner with three answers to every request."""

    thought = None
    faults: ClassVar[Counter[str]] = Counter()
    engine: ClassVar[dict[str, str]] = {}

    def warm_up(self, budget: str) -> None: ...

    def think(self, request: PlanRequest, budget: str) -> Iterator[Guidance]:
        for index in range(3):
            yield Guidance(
                request.stamp, request.request_id, 0, np.zeros(0, np.float32),
                np.zeros((0, 2), np.float32), 0.0, index == 2, 0, str(index),
            )  # fmt: skip


def test_a_newer_request_ends_a_thought_at_its_next_answer(tmp_path: Path) -> None:
    """Requests every 150 ms, answers 100, 200 and 300 ms after each thought began."""
    latency = FixedLatency(0, system2_ms=300.0)
    policy = Policy(SPEC, PointEngine(), PeriodicTrigger(3), PolicyConfig(replan_ticks=4))
    shield = Shield(SPEC, ShieldConfig(max_observation_age_s=0.5), ladder())
    runner = Lockstep(PointWorld(), policy, Slow(), shield, latency, session=42)
    with LogWriter(tmp_path / "log.mcap", {}) as log:
        runner.run(0, 0, log)
    told = list(of(Guidance, list(read_log(tmp_path / "log.mcap"))))
    first = [g.stamp.time_ns // 1_000_000 for g in told if g.request_id == 1]
    assert first == [100, 200], "the request at 150 ms ends it with the answer at 200 ms"
    second = [g.stamp.time_ns // 1_000_000 for g in told if g.request_id == 2]
    assert second[0] == 300, "the next thought began when the first one ended"
    assert runner.drops["interrupted"] >= 2


@pytest.mark.parametrize(("ticks", "used_at"), [(0, 1), (1, 1), (2, 2), (4, 4), (8, 8)])
def test_all_answers_of_a_delay_sweep_come_in_the_tick_that_it_names(
    tmp_path: Path, ticks: int, used_at: int
) -> None:
    # No round number of ns, as the driving worlds' period: N ticks must still not be N + 1.
    spec = msgspec.structs.replace(SPEC, control_rate_hz=15.0)
    world, shield = PointWorld(), Shield(spec, ShieldConfig(max_observation_age_s=0.5), ladder())
    world.world_spec = spec
    policy = Policy(spec, PointEngine(), PeriodicTrigger(1000), PolicyConfig(replan_ticks=4))
    latency = TickLatency(0, ticks, spec.period_ns)
    with LogWriter(tmp_path / "log.mcap", {}) as log:
        Lockstep(world, policy, Slow(), shield, latency, session=42).run(0, 0, log)
    messages = list(read_log(tmp_path / "log.mcap"))
    assert len({g.stamp.time_ns for g in of(Guidance, messages)}) == 1
    told = [a for a in of(Action, messages) if a.guidance_sequence >= 0]
    # Even without delay, the action that asked is sent before the answer.
    assert min(a.stamp.tick for a in told) == used_at
    assert {a.guidance_sequence for a in told} == {3}, "the last answer is the one in force"


def test_the_distribution_has_the_median_and_tail_it_was_given() -> None:
    latency = DistributionLatency(1, 200.0, 600.0, seed=0)
    draws = np.array([latency.answers_ns(1)[0] for _ in range(20_000)]) / 1e6
    assert np.median(draws) == pytest.approx(200, rel=0.02)
    assert np.percentile(draws, 99) == pytest.approx(600, rel=0.1)


@pytest.mark.parametrize("bad", [lambda: FixedLatency(-1, 0.0), lambda: FixedLatency(0, -1.0),
                                 lambda: TickLatency(0, -1, 1), lambda: TickLatency(-1, 0, 1),
                                 lambda: DistributionLatency(0, 5.0, 1.0, 0),
                                 lambda: TraceLatency(Trace(1, [], "m"))])  # fmt: skip
def test_impossible_latencies_are_refused(bad: object) -> None:
    with pytest.raises(DualsysError):
        bad()  # type: ignore[operator]


def test_logs_are_joined_verbatim_with_their_header(tmp_path: Path) -> None:
    parts = []
    for epoch in (0, 1):
        parts.append(tmp_path / f"{epoch}.mcap")
        with LogWriter(parts[-1], {}) as log:
            lockstep(FixedLatency(1, 50.0)).run(epoch, epoch, log)
    concatenate(parts, tmp_path / "joined.mcap", {"config": {"x": 1}})
    joined = [m.stamp for _, m in read_log(tmp_path / "joined.mcap")]
    assert joined == [m.stamp for part in parts for _, m in read_log(part)]
    assert read_header(tmp_path / "joined.mcap") == {"config": {"x": 1}}


class Shadow:
    """An expert that says which plan it was told and how old that was."""

    def reset(self) -> None:
        self.resets = getattr(self, "resets", 0) + 1

    def act(self, told: int = -1, age_ticks: int = 0) -> tuple[np.ndarray, int]:
        return np.array([told, age_ticks], np.float32), told


def test_an_expert_labels_every_tick_and_drives_none(tmp_path: Path) -> None:
    plain = run(tmp_path, FixedLatency(1, 100.0))
    runner, shadow = lockstep(FixedLatency(1, 100.0)), Shadow()
    runner._expert = shadow
    with LogWriter(tmp_path / "labelled.mcap", {}) as log:
        runner.run(0, 0, log)
    found = list(read_log(tmp_path / "labelled.mcap"))
    assert [m.command.tobytes() for m in of(Command, plain)] == [
        m.command.tobytes() for m in of(Command, found)
    ]
    told = [m.command.tolist() for m in of(Label, found)]
    assert len(told) == len(list(of(Command, found)))
    assert told[0] == [-1.0, 0.0], "before the first guidance the expert is told nothing"
    assert told[-1][0] >= 0
    assert told[-1][1] > 0
    assert shadow.resets == 1


def test_an_episode_is_cut_off_after_its_time(tmp_path: Path) -> None:
    runner = lockstep(FixedLatency(1, 100.0))
    runner._max_ticks = 7
    with LogWriter(tmp_path / "log.mcap", {}) as log:
        row = runner.run(0, 0, log).row
    assert row["steps"] == 7
    assert row["completed"] is False
