"""A policy of somebody else behind our interface, and the contract that it can be tried with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from dualsys.config import load
from dualsys.errors import DualsysError, SpecMismatchError
from dualsys.messages import Guidance, Observation, Stamp
from dualsys.runtime import assembly
from dualsys.runtime.engines import require_uncertainty
from dualsys.system1.contract import check_policy
from dualsys.system1.foreign import ForeignPolicy
from dualsys.system1.policy import Policy
from dualsys.system1.tick import Tick
from dualsys.system1.timing import PolicyConfig
from dualsys.trigger.rules import NeverTrigger, PeriodicTrigger, UncertaintyTrigger
from tests.fakes import SPEC, PointEngine
from tests.system1.test_policy import guidance, observation


class Straight:
    """Goes to the origin; as sure as it is near. Says what it was told."""

    reports_uncertainty = True

    def __init__(self) -> None:
        self.told: list[Guidance | None] = []
        self.epochs: list[int] = []

    def reset(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def act(self, seen: Observation, told: Guidance | None, now_ns: int) -> Tick:
        self.told.append(told)
        commands = np.tile(np.clip(-seen.state, -1, 1), (6, 1))
        doubt = np.abs(seen.state).max()  # numpy's, as it comes
        return Tick.of_commands(seen, commands, now_ns, doubt, told)


def foreign(own: Any, trigger: Any = None, **config: Any) -> ForeignPolicy:
    settings = PolicyConfig(**config)
    return ForeignPolicy(SPEC, own, "mine", trigger or NeverTrigger(), settings)


def test_its_commands_go_out_under_the_tick_of_what_it_saw() -> None:
    answer = foreign(Straight()).act(observation(3), None, 77)
    action = answer.action
    assert (action.stamp.tick, action.stamp.time_ns, action.first_tick) == (3, 77, 3)
    assert action.observation_ns == 3 * SPEC.period_ns
    assert type(action.uncertainty) is float
    np.testing.assert_array_equal(action.commands, np.tile([-1, 1], (6, 1)))
    assert (answer.provenance.chunk_tick, answer.request) == (3, None)


def test_guidance_is_admitted_and_expires_as_for_the_network() -> None:
    own = Straight()
    policy = foreign(own, max_guidance_age_ticks=4)
    told = guidance(0)
    for tick in (1, 4, 5):
        policy.act(observation(tick), told, 0)
    assert own.told == [told, told, None]
    assert policy.fault(msgspec.structs.replace(told, plan=9)) == "foreign_plan"
    assert policy.fault(told) is None


def test_it_asks_when_it_is_unsure_and_shows_what_it_is_about_to_do() -> None:
    policy = foreign(Straight(), UncertaintyTrigger(0.5, 0.0, 1, None))
    near = observation(0, state=np.full(2, 0.1, np.float32))
    assert policy.act(near, None, 0).request is None
    far = policy.act(observation(1), None, 0)
    assert far.request is not None
    assert far.request.reason == "uncertain"
    assert far.request.uncertainty == 1.0
    assert far.request.samples.shape == (1, 6, 2)
    assert far.action.waiting_ticks == 0
    assert policy.act(observation(2), None, 0).action.waiting_ticks == 1


def test_a_blind_tick_is_answered_with_the_rest_of_the_last_answer() -> None:
    policy = foreign(Straight())
    policy.act(observation(3), None, 0)
    action = policy.coast(Stamp(1, 0, 9, 5, 0), 88)
    np.testing.assert_array_equal(action.commands, np.tile([-1, 1], (4, 1)))
    assert action.observation_ns == 3 * SPEC.period_ns
    assert math.isnan(action.uncertainty)
    assert policy.coast(Stamp(1, 0, 9, 50, 0), 88).commands.shape == (0, 2)


def test_seams_are_measured_and_a_warm_up_leaves_nothing() -> None:
    own = Straight()
    policy = foreign(own)
    policy.warm_up(3)
    assert len(own.told) == 3
    assert own.epochs == [0, 0]
    policy.act(observation(0), None, 0)
    policy.act(observation(1, state=np.zeros(2, np.float32)), None, 0)
    assert policy.seam_jump == pytest.approx(0.5), "from 1 to 0, of a range of two"


def answering(change: Callable[[Tick], Any]) -> Straight:
    class Changed(Straight):
        def act(self, seen: Observation, told: Guidance | None, now_ns: int) -> Any:
            return change(super().act(seen, told, now_ns))

    return Changed()


def commanding(commands: Any, **fields: Any) -> Straight:
    def change(answer: Tick) -> Tick:
        action = msgspec.structs.replace(answer.action, commands=commands, **fields)
        return msgspec.structs.replace(answer, action=action)

    return answering(change)


WRONG = [
    (commanding(np.zeros((6, 3))), r"commands 3 axes in tick 0, the world has 2: vx \[m/s\], vy"),
    (commanding(np.zeros((1, 2))), r"commands for 1 tick\(s\), and they act after 1: give .* 2 ti"),
    (commanding(np.zeros(2)), r"with commands \(2,\), expected \(T, 2\)"),
    (commanding([[0, 0]]), r"with commands list, expected \(T, 2\)"),
    (commanding(np.zeros((6, 2)), first_tick=9), "answered tick 0 with commands from tick 9 on"),
    (answering(lambda answer: answer.action.commands), r"with ndarray, a Tick was expected"),
]


@pytest.mark.parametrize(("own", "words"), WRONG)
def test_an_answer_of_another_shape_is_refused_with_both_sides(own: Any, words: str) -> None:
    with pytest.raises(SpecMismatchError, match=f"the policy mine .*{words}.*see docs/bring_your"):
        foreign(own).act(observation(0), None, 0)
    with pytest.raises(SpecMismatchError, match=f"the policy Changed .*{words}"):
        check_policy(own, SPEC)


def test_what_is_no_policy_is_told_what_it_lacks() -> None:
    with pytest.raises(
        DualsysError, match=r"the policy mine is a object without reset and act\(\)"
    ):
        foreign(object())


def test_the_contract_passes_ours_and_a_good_one() -> None:
    check_policy(Straight(), SPEC)
    check_policy(Policy(SPEC, PointEngine(), PeriodicTrigger(3), PolicyConfig()), SPEC)


class Leaky(Straight):
    """Counts on from the last episode."""

    count = 0.0

    def act(self, seen: Observation, told: Guidance | None, now_ns: int) -> Tick:
        self.count += 0.01
        return Tick.of_commands(seen, np.full((6, 2), self.count), now_ns, 1.0)


class Writing(Straight):
    """Normalises in place."""

    def act(self, seen: Observation, told: Guidance | None, now_ns: int) -> Tick:
        seen.state[:] = seen.state / 2
        return super().act(seen, told, now_ns)


class Silent(Straight):
    """Promises an uncertainty, and reports none."""

    def act(self, seen: Observation, told: Guidance | None, now_ns: int) -> Tick:
        return Tick.of_commands(seen, np.zeros((6, 2)), now_ns)


@pytest.mark.parametrize(
    ("own", "kind", "words"),
    [
        (
            commanding(np.full((6, 2), np.nan)),
            SpecMismatchError,
            "numbers in tick 0 that are not f",
        ),
        (
            commanding(np.full((6, 2), 57.3)),
            SpecMismatchError,
            r"commands 57.3 in vx \[m/s\] .*-1 t",
        ),
        (Leaky(), SpecMismatchError, r"answers tick 0 of one episode in two ways; forget everythi"),
        (Silent(), SpecMismatchError, "has reports_uncertainty, and tick 19 says nan"),
        (Writing(), ValueError, "read-only"),
    ],
)
def test_the_contract_finds_broken_policies(own: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        check_policy(own, SPEC)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trigger=learned"], "trigger=learned knows what the network of dualsys"),
        (["trigger=oracle"], "trigger=oracle knows what the network"),
        (["trigger=uncertainty", "trigger.calibration=x.json"], "trigger.calibration=x.json knows"),
    ],
)
def test_a_trigger_that_knows_our_network_is_refused(words: list[str], told: str) -> None:
    config = load("eval", ["system1.driver=mine", "system2=scripted", *words])
    with pytest.raises(DualsysError, match=f"{told}.*System 1 is mine; choose trigger=uncertainty"):
        assembly.make_trigger(config, SPEC)


def test_a_policy_without_an_uncertainty_is_not_waited_for() -> None:
    words = ["system1.driver=mine", "trigger=uncertainty", "trigger.threshold=1"]
    config = load("eval", [*words, "system2=scripted"])
    with pytest.raises(
        DualsysError, match="the policy mine reports no uncertainty: choose trigger=p"
    ):
        require_uncertainty(config, "mine", reported=False)
    require_uncertainty(config, "mine", reported=True)
    require_uncertainty(load("eval", [*words, "system2=none"]), "mine", reported=False)
