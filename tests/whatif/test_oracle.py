from __future__ import annotations

from pathlib import Path

import pytest

from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.messages import Command, PlanRequest
from dualsys.runtime.assembly import make_trigger
from dualsys.runtime.evaluate import rig
from dualsys.runtime.log import read_log
from sim.driving.spec import SPEC

WORDS = ["scenario=driving/merge", "runtime.episode_s=3", "trigger.horizon_s=1.0"]


def driven(
    words: list[str], log: Path, blind: bool = False
) -> tuple[list[bytes], list[PlanRequest]]:
    """Commands and calls of one episode of three seconds."""
    with rig(load("eval", [*WORDS, *words]), "driving/merge") as it:
        if blind:
            it.lockstep._oracle = None
        it.run(0, 3, log)
    messages = [m for _, m in read_log(log)]
    commands = [m.command.tobytes() for m in messages if isinstance(m, Command)]
    return commands, [m for m in messages if isinstance(m, PlanRequest)]


def test_looking_leaves_the_drive_as_it_was(tmp_path: Path) -> None:
    # At this price nothing is ever asked: only the looking is left.
    words = ["trigger=oracle", "trigger.price=2.0"]
    blind, _ = driven(words, tmp_path / "blind.mcap", blind=True)
    looked, calls = driven(words, tmp_path / "looked.mcap")
    assert calls == []
    assert looked == blind
    assert len(set(looked)) > 10


def test_it_calls_where_a_call_costs_less_than_it_gains(tmp_path: Path) -> None:
    words = ["trigger=oracle", "trigger.price=-2.0", "trigger.refractory_s=1.0"]
    _, calls = driven(words, tmp_path / "oracle.mcap")
    assert [call.observation.stamp.tick for call in calls] == [0, 15, 30]
    assert {call.reason for call in calls} == {"pays"}
    again, _ = driven(words, tmp_path / "again.mcap")
    assert (tmp_path / "again.mcap").read_bytes() == (tmp_path / "oracle.mcap").read_bytes()
    assert len(again) == 45


def test_realtime_refuses_it() -> None:
    with pytest.raises(DualsysError, match="lockstep only"):
        make_trigger(load("eval", [*WORDS, "trigger=oracle"]), SPEC)


@pytest.mark.parametrize(
    ("scenario", "words", "told"),
    [
        ("manipulation/reach", [], "driving worlds do"),
        ("driving/merge", ["system2=none"], "needs a System 2"),
        ("driving/merge", ["trigger.price=nan"], "trigger.price must be a number"),
        ("driving/merge", ["trigger.refractory_s=0"], "at least one tick"),
    ],
)
def test_where_it_cannot_look_it_says_so(scenario: str, words: list[str], told: str) -> None:
    config = load("eval", [f"scenario={scenario}", "trigger=oracle", *words])
    with pytest.raises(DualsysError, match=told), rig(config, scenario):
        pass
