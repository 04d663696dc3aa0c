from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from dualsys.bench.rig import check_trigger, rig
from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.messages import Command, Guidance, Observation, PlanRequest, Stamp
from dualsys.runtime.log import read_log
from dualsys.runtime.realtime import realtime
from dualsys.runtime.transit import Midway
from dualsys.trigger.situation import Situation
from dualsys.whatif.call_trials import Weighed
from dualsys.whatif.junction import Junction
from dualsys.whatif.oracle import OracleTrigger
from sim import registry
from sim.driving.terms import WEIGHTS, Terms

WORDS = [
    "scenario=driving/merge",
    "system2=scripted",
    "runtime.episode_s=3",
    "trigger.horizon_s=1.0",
]


def driven(
    words: list[str], log: Path, blind: bool = False
) -> tuple[list[bytes], list[PlanRequest]]:
    """Commands and calls of one episode of three seconds."""
    with rig(load("eval", [*WORDS, *words]), "driving/merge") as it:
        if blind:
            it.lockstep._onlooker = None
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


def test_a_run_calls_when_the_oracle_says_so(tmp_path: Path) -> None:
    words = ["trigger=oracle", "trigger.price=-2.0", "trigger.refractory_s=1", "trigger.look_s=1"]
    _, calls = driven(words, tmp_path / "oracle.mcap")
    assert [call.observation.stamp.tick for call in calls] == [0, 15, 30]
    assert {call.reason for call in calls} == {"pays"}
    again, _ = driven(words, tmp_path / "again.mcap")
    assert (tmp_path / "again.mcap").read_bytes() == (tmp_path / "oracle.mcap").read_bytes()
    assert len(again) == 45


class Weighing:
    """Stands for `Branching`: gains by tick."""

    def __init__(self, gains: dict[int, float]) -> None:
        self.gains, self.looked = gains, []

    def draw(self, seed: int, tick: int) -> None:
        self.looked.append(tick)

    def both(
        self, junction: Junction, observation: Observation, told: Guidance | None, midway: Midway
    ) -> Weighed:
        more = self.gains.get(observation.stamp.tick, 0.0)
        # Economy alone differs here.
        parts = sum(msgspec.structs.astuple(WEIGHTS)) / WEIGHTS.economy
        low, high = (Terms(0.5, 0.5, 0.5, parts * max(0.0, g)) for g in (-more, more))
        return Weighed(low, high)


class Standing:
    """A world that can go back in time, and does nothing else."""

    def save(self) -> None: ...

    def restore(self, saved: None) -> None: ...


def asked(gains: dict[int, float], price: float, look: int, refractory: int) -> list[int]:
    weighing = Weighing(gains)
    oracle = OracleTrigger(Standing(), weighing, price, look, refractory)
    calls = []
    for tick in range(20):
        oracle.look(observed(tick), None, {}, None, Midway())
        if oracle.decide(tick, Situation()) is not None:
            calls.append(tick)
    assert set(calls) <= set(weighing.looked)
    return calls


def test_it_calls_where_the_gain_exceeds_the_price() -> None:
    gains = {0: -0.2, 4: 0.02, 5: 0.09, 8: 0.2, 12: 0.05, 16: -0.1}
    assert Weighing(gains).both(None, observed(8), None, Midway()).gain == pytest.approx(0.2)
    assert asked(gains, 0.01, look=4, refractory=1) == [4, 8, 12]
    assert asked(gains, 0.04, look=4, refractory=1) == [8, 12]
    assert asked(gains, 0.01, look=1, refractory=1) == [4, 5, 8, 12]
    assert asked(gains, 0.01, look=1, refractory=4) == [4, 8, 12]
    assert asked(gains, 0.01, look=1, refractory=6) == [4, 12]


def observed(tick: int) -> Observation:
    stamp = Stamp(1, 2, tick, tick, 0)
    return Observation(stamp, {}, {}, np.zeros(0), np.zeros((0, 0)), "")


def test_realtime_refuses_it(tmp_path: Path) -> None:
    words = [*WORDS, "trigger=oracle", "runtime=realtime", f"out={tmp_path / 'run'}"]
    config = load("eval", [word for word in words if "episode_s" not in word])
    with pytest.raises(DualsysError, match="lockstep only"):
        realtime(config, "driving/merge", [0])


@pytest.mark.parametrize(
    ("scenario", "words", "told"),
    [
        ("manipulation/reach", [], "'manipulation'; choose another trigger"),
        ("driving/merge", ["system2=none"], "give system2=vlm or scripted"),
        ("driving/merge", ["system2=remote"], "give system2=vlm or scripted"),
        (
            "driving/merge",
            ["trigger.price=nan"],
            "trigger.price can be any finite number, it is nan",
        ),
        ("driving/merge", ["trigger.refractory_s=0"], "at least one tick"),
        ("driving/merge", ["trigger.look_s=-1"], "more than 0"),
    ],
)
def test_where_it_cannot_look_it_says_so(scenario: str, words: list[str], told: str) -> None:
    with pytest.raises(DualsysError, match=told):
        check_trigger(
            load("eval", [f"scenario={scenario}", "trigger=oracle", *words]),
            registry.spec_of(scenario),
        )
