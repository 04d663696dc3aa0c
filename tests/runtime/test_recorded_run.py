"""What a log of a realtime run says is put together from its messages alone."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from dualsys.messages import (
    Action,
    Command,
    Guidance,
    Health,
    Observation,
    Outcome,
    PlanRequest,
    Stamp,
)
from dualsys.runtime.recorded_run import RecordedRun
from sim import registry

SPEC = registry.spec_of("manipulation/push")
SECOND = 1_000_000_000


def stamp(tick: int, time_s: float, epoch: int = 0) -> Stamp:
    return Stamp(1, epoch, tick + 1, tick, int(time_s * SECOND))


def action(tick: int, chunk_tick: int, compute_ns: int, guidance_age: int = -1) -> Action:
    zeros = np.zeros((4, len(SPEC.action)), np.float32)
    return Action(stamp(tick, 0), tick, zeros, 0, 0.0, chunk_tick, -1, guidance_age, compute_ns)


def commanded(tick: int, time_s: float) -> list[Any]:
    zeros = np.zeros(len(SPEC.action), np.float32)
    command = Command(stamp(tick, time_s), zeros, "system1", (), tick, 1_000)
    return [command, Outcome(stamp(tick, time_s), 1.0, False, False, False, {})]


def guidance(request: int, time_s: float) -> Guidance:
    return Guidance.of_plan(stamp(0, time_s), request, 0, len(SPEC.action))


def read(*messages: Any) -> RecordedRun:
    return RecordedRun([7], SPEC).read(messages, {"0": 0.25})


def test_a_tick_whose_chunk_is_its_own_is_a_pass() -> None:
    found = read(
        *(action(0, 0, 3_000), action(1, 0, 100), action(2, 2, 4_000)),
        *(commanded(1, 0.1) + commanded(2, 0.2)),
    )
    assert found.act_ns == [3_000, 100, 4_000]
    assert found.pass_ns == [3_000, 4_000]
    row = found.records[0].row
    assert (row["seed"], row["passes"], row["steps"], row["seam_jump"]) == (7, 2, 2, 0.25)


def test_the_age_of_a_plan_is_that_of_the_action_before_the_outcome() -> None:
    found = read(action(0, 0, 1, 5), action(1, 0, 1), *(commanded(1, 0.1) + commanded(2, 0.2)))
    assert found.guidance_ages == [5]


def test_what_was_asked_before_system_2_lived_has_no_latency() -> None:
    zeros = np.zeros(0, np.float32)
    none = np.zeros((0, 4, len(SPEC.action)), np.float32)
    seen = Observation(stamp(0, 0.0), {}, {}, zeros, zeros, "")
    requests = [
        PlanRequest(stamp(0, asked_s), number, seen, none, "periodic", 0.0, "short")
        for number, asked_s in ((1, 0.5), (2, 2.0))
    ]
    health = Health(stamp(0, 1.0), "system2", "running", {}, {})
    answers = [guidance(1, 1.5), guidance(2, 2.5), guidance(2, 3.0), guidance(9, 3.5)]
    found = read(*requests, health, *answers, *commanded(1, 5.0))
    assert found.answer_times_ns == [[SECOND // 2, SECOND]]
    assert found.silence_s == pytest.approx(1.5)
    row = found.records[0].row
    assert (row["calls"], row["thinking_s"]) == (2, pytest.approx(1.0))
    assert sum(found.codes.values()) == 4


def test_a_thought_took_as_long_as_its_last_answer_says() -> None:
    said = [(1, 0.1), (2, 0.2), (2, 0.5)]
    answers = [
        msgspec.structs.replace(guidance(request, 3.0), thinking_ns=round(took_s * SECOND))
        for request, took_s in said
    ]
    assert read(*answers, *commanded(1, 5.0)).think_ns == [SECOND // 10, SECOND // 2]


def test_who_never_spoke_is_not_silent() -> None:
    assert read(*commanded(1, 5.0)).silence_s is None
