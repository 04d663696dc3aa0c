from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console

from dualsys.bench.evaluate import evaluate
from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.messages import (
    Action,
    Command,
    Guidance,
    Message,
    Observation,
    Outcome,
    PlanRequest,
    Stamp,
    Thought,
)
from dualsys.runtime.fates import Story, fate_of, tell
from dualsys.runtime.log import read_log
from dualsys.show_thoughts import explain, list_thoughts, newest_at, save_images, stories_of
from dualsys.trigger.acceptance import Acceptance
from sim.driving.spec import SPEC

NONE = np.zeros((0, 2), np.float32)


def guidance(sequence: int, tick: int, request: int = 1) -> Guidance:
    stamp = Stamp(1, 0, sequence, tick, tick)
    return Guidance(stamp, request, 0, np.zeros(0, np.float32), NONE, math.nan, True, 0, "plan: go")


def action(sequence: int, tick: int, used: int) -> Action:
    stamp = Stamp(1, 0, sequence, tick, tick)
    return Action(stamp, tick, NONE, tick, 0.0, tick, used, 0 if used >= 0 else -1, 0)


def command(tick: int, action_sequence: int) -> Command:
    return Command(
        Stamp(1, 0, tick, tick, tick), np.zeros(2, np.float32), "system1", (), action_sequence, 0
    )


def outcome(tick: int, collision: float) -> Outcome:
    stamp = Stamp(1, 0, tick, tick, tick)
    return Outcome(stamp, 0.0, collision > 0, False, False, {"collision": collision})


def fates(messages: list[Message]) -> list[str]:
    return [story.fate for story in tell(messages)]


def test_a_guidance_that_an_action_took_was_used() -> None:
    (story,) = tell([guidance(1, 0), action(1, 3, 1), action(2, 4, 1), action(3, 5, -1)])
    assert (story.fate, story.used_ticks, story.first_used, story.last_used) == ("used", 2, 3, 4)


def test_one_that_came_too_late_is_superseded_and_the_last_unused_one_expired() -> None:
    log: list[Message] = [guidance(1, 0), guidance(2, 2), action(1, 3, 2), guidance(3, 4)]
    assert fates(log) == ["superseded", "used", "expired"]


def test_the_one_in_force_at_a_collision_is_harmful() -> None:
    log: list[Message] = [
        guidance(1, 0),
        action(1, 1, 1),
        guidance(2, 2),
        action(2, 3, 2),
        command(4, 1),  # the action on the second guidance has not arrived yet
        outcome(4, 1.0),
    ]
    assert fates(log) == ["harmful", "used"]


@pytest.mark.parametrize("turned", [False, True])
def test_harm_is_not_forgotten_when_the_guidance_is_used_on(turned: bool) -> None:
    log: list[Message] = [guidance(1, 0), action(1, 1, 1), command(1, 1), outcome(1, 1.0)]
    log += [action(2, 2, 1), command(2, 2), outcome(2, 0.0)]
    assert fates(log[::-1] if turned else log) == ["harmful"], "in whatever order the log stands"


def request(number: int, tick: int) -> PlanRequest:
    stamp = Stamp(1, 0, number, tick, tick)
    seen = Observation(stamp, {}, {}, np.zeros(2, np.float32), np.zeros((0, 0)), "go on")
    return PlanRequest(stamp, number, seen, NONE[None], "periodic", 0.1, "short")


def test_every_request_has_a_story() -> None:
    """Of three requests in the first's thinking time the newest is thought about, to no end."""
    log: list[Message] = [request(1, 0), request(2, 2), request(3, 4), guidance(1, 0)]
    log[3] = msgspec.structs.replace(guidance(1, 0), stamp=Stamp(1, 0, 1, 0, 5))
    log += [action(1, 6, 1), request(4, 8), guidance(2, 8, request=4)]
    for messages in (log, log[::-1]):
        found = tell(messages)
        assert [(s.tick, s.fate) for s in found] == [
            (0, "used"),
            (2, "superseded"),
            (4, "unanswered"),
            (8, "expired"),
        ]
        assert [s.request.request_id for s in found if s.request is not None] == [1, 2, 3, 4]
        assert [s.guidance is None for s in found] == [False, True, True, False]


def test_guidance_that_the_limits_forbid_was_refused() -> None:
    """Late at tick 7; of low value at tick 9; the third is judged by nobody before the fourth."""
    late = msgspec.structs.replace(guidance(1, 1), stamp=Stamp(1, 0, 1, 1, 7))
    poor = msgspec.structs.replace(guidance(2, 8, request=2), value=0.1)
    third = msgspec.structs.replace(guidance(3, 9, request=3), value=0.1)
    log: list[Message] = [action(tick, tick, -1) for tick in range(3, 10)]
    log += [late, poor, third, guidance(4, 9, request=4), action(10, 10, 4)]
    limits = Acceptance(latest_ticks=5, least_value=0.5)
    told = [(s.fate, s.reason) for s in tell(log, limits)]
    assert told == [("refused", "late"), ("refused", "low_value"), ("superseded", ""), ("used", "")]
    assert [s.fate for s in tell(log)] == ["superseded", "superseded", "superseded", "used"]
    assert fate_of(tell(log, limits)[1]) == "refused: low value"


def test_harm_is_laid_at_the_door_of_where_it_began() -> None:
    log: list[Message] = [guidance(1, 0), action(1, 1, 1), command(1, 1), outcome(1, 1.0)]
    log += [guidance(2, 2), action(2, 3, 2), command(3, 2), outcome(3, 1.0)]
    assert fates(log) == ["harmful", "used"]


def thought(behind: Guidance) -> Thought:
    chunks, values = np.zeros((1, 4, 2)), np.array([1.0], np.float32)
    return Thought(behind.stamp, behind.request_id, {}, {"plan": "go."}, chunks, values, 0, {})


@pytest.mark.parametrize("first", ["thought", "guidance"])
def test_a_thought_belongs_to_the_guidance_of_its_stamp(first: str) -> None:
    """In whatever order they stand, and in two episodes with equal requests."""
    said = [guidance(1, 0, request=1), guidance(2, 0, request=1)]
    said.append(msgspec.structs.replace(said[0], stamp=Stamp(1, 1, 1, 0, 0)))
    thoughts = [thought(one) for one in said]
    log: list[Message] = []
    for pair in zip(thoughts, said, strict=True):
        log += pair if first == "thought" else reversed(pair)
    log.append(guidance(3, 5, request=2))
    found = {story.guidance.stamp.place: story.thought for story in tell(log)}
    assert found.pop((1, 0, 3)) is None
    assert len(found) == 3
    for own in thoughts:
        assert found[own.stamp.place] is own


def test_a_thought_can_be_looked_up_by_tick(run_folder: Path, tmp_path: Path) -> None:
    spec, stories = stories_of(run_folder, 0)
    assert spec == SPEC
    log = [m for _, m in read_log(run_folder / "log.mcap") if m.stamp.epoch == 0]
    assert sum(s.guidance is not None for s in stories) == sum(isinstance(m, Guidance) for m in log)
    asked = {story.request.request_id for story in stories if story.request is not None}
    assert len(asked) == sum(isinstance(m, PlanRequest) for m in log)
    taken = sum(isinstance(m, Action) and m.guidance_sequence >= 0 for m in log)
    assert sum(story.used_ticks for story in stories) == taken
    story: Story = newest_at(stories, 40)
    assert story.tick <= 40
    console = Console(record=True, width=140)
    list_thoughts(stories, SPEC.plans, console)
    explain(story, SPEC, console)
    text = console.export_text()
    for word in ("asked at tick", "because of: periodic", "fate: ", "speed", "instruction"):
        assert word in text, text
    (image,) = save_images(story, tmp_path)
    assert image.stat().st_size > 200


def test_an_episode_without_a_thought_is_an_error(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DualsysError, match=r"episode 7 of .* holds no request"):
        stories_of(run_folder, 7)
    with pytest.raises(DualsysError, match=r"is missing; give run=DIR"):
        stories_of(tmp_path, 0)
    _, stories = stories_of(run_folder, 0)
    for story in stories:
        assert story.request is not None
    with pytest.raises(DualsysError, match="the first is about tick"):
        newest_at(stories, -5)


def test_what_a_run_refused_is_told_as_it_was_counted(untrained: Path, tmp_path: Path) -> None:
    """Answers take 400 ms, 300 ms are allowed; and a request is superseded while one is thought."""
    words = ["scenario=driving/merge", "system2=scripted", "latency.system2_ms=400"]
    words += ["trigger.period_s=0.15", "trigger.latest_s=0.3", "runtime.episode_s=4"]
    words += [f"system1.checkpoint={untrained}", f"out={tmp_path}"]
    results = evaluate(load("eval", words), ["driving/merge"], [3], lambda result: None)
    _, stories = stories_of(tmp_path, 0)
    assert results["drops"]["not_used_late"] == sum(s.reason == "late" for s in stories) > 3
    assert not any(story.used_ticks for story in stories)
    unheard = [s for s in stories if s.guidance is None]
    displaced = [s for s in unheard if s.fate == "superseded"]
    # The last requests of the episode may still wait for an answer.
    assert results["drops"]["superseded"] >= len(displaced) > 3
    assert len(unheard) - len(displaced) <= 3
    console = Console(record=True, width=140)
    list_thoughts(stories, SPEC.plans, console)
    explain(displaced[0], SPEC, console)
    text = console.export_text()
    for word in ("refused: late", "superseded", "fate: superseded (0 ticks)"):
        assert word in text, text
    assert save_images(displaced[0], tmp_path / "seen")
