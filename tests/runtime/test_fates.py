from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console

from dualsys.errors import DualsysError
from dualsys.messages import Action, Command, Guidance, Message, Outcome, Stamp, Thought
from dualsys.runtime.fates import Story, tell
from dualsys.runtime.log import read_log
from dualsys.show_thoughts import explain, list_thoughts, newest_at, save_images, stories_of
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
    stories = stories_of(run_folder, 0)
    log = [m for _, m in read_log(run_folder / "log.mcap") if m.stamp.epoch == 0]
    assert len(stories) == sum(isinstance(m, Guidance) for m in log)
    taken = sum(isinstance(m, Action) and m.guidance_sequence >= 0 for m in log)
    assert sum(story.used_ticks for story in stories) == taken
    story: Story = newest_at(stories, 40)
    assert story.guidance.stamp.tick <= 40
    console = Console(record=True, width=140)
    list_thoughts(stories, SPEC.plans, console)
    explain(story, SPEC, console)
    text = console.export_text()
    for word in ("asked at tick", "because of: periodic", "fate: ", "speed", "instruction"):
        assert word in text, text
    (image,) = save_images(story, tmp_path)
    assert image.stat().st_size > 200


def test_an_episode_without_a_thought_is_an_error(run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DualsysError, match=r"episode 7 of .* holds no guidance"):
        stories_of(run_folder, 7)
    with pytest.raises(DualsysError, match=r"is missing; give run=DIR"):
        stories_of(tmp_path, 0)
    stories = stories_of(run_folder, 0)
    for story in stories:
        assert story.request is not None
    with pytest.raises(DualsysError, match="the first is about tick"):
        newest_at(stories, -5)
