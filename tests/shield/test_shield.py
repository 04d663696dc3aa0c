from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dualsys.errors import DualsysError
from dualsys.messages import Command
from dualsys.shield.shield import HARDLY, Shield, ShieldConfig
from dualsys.spec import WorldSpec
from tests import fakes
from tests.shield.plants import (
    CAR,
    LADDER,
    PERIOD,
    SLED,
    action,
    box,
    ladder,
    seen,
    shield,
    stamp,
)

ANY = st.floats(width=32, allow_nan=True, allow_infinity=True) | st.sampled_from(
    [0.0, -0.0, 1e38, -1e38, 1e-45, math.nan, math.inf, -math.inf]
)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
DTYPES = st.sampled_from(["float32", "float64", "float16", "int64", "uint8", "bool"])
WILD = DTYPES.flatmap(lambda kind: hnp.arrays(kind, SHAPES)) | hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=4), elements=ANY
)
INTEGERS = st.integers(-(2**62), 2**62) | st.integers(-3, 8)


def check(spec: WorldSpec, last: Any, command: Command) -> None:
    """Finite, in the box and no further from the last one than the rates allow."""
    sent = command.command
    assert sent.dtype == np.float32
    assert sent.shape == (len(spec.action),)
    assert np.isfinite(sent).all()
    assert (sent >= spec.action_low).all()
    assert (sent <= spec.action_high).all()
    assert spec.limits is not None
    for axis, moved in zip(spec.limits.axes, sent - last, strict=True):
        assert axis.rate is not None
        assert abs(moved) <= axis.rate / spec.control_rate_hz + 1e-5


@pytest.mark.parametrize("spec", [SLED, CAR])
@given(data=st.data())
@settings(max_examples=300)
def test_whatever_comes_a_safe_command_goes_out(spec: WorldSpec, data: st.DataObject) -> None:
    guard, last = shield(spec), np.zeros(len(spec.action))
    states = hnp.arrays(np.float32, (2,), elements=ANY) | hnp.arrays(np.float32, SHAPES)
    scenes = hnp.arrays(np.float32, (2, len(spec.scene_fields)), elements=ANY)
    with np.errstate(all="ignore"):
        for tick in range(data.draw(st.integers(1, 6))):
            if data.draw(st.booleans()):
                ages = data.draw(INTEGERS), data.draw(INTEGERS), data.draw(INTEGERS)
                sent = action(data.draw(WILD), data.draw(INTEGERS), *ages)
                guard.offer(sent)
            sense = seen(tick, data.draw(states), data.draw(scenes))
            command = guard.command(stamp(tick), sense)
            check(spec, last, command)
            last = command.command


@given(st.lists(hnp.arrays(np.float32, (2,), elements=st.floats(-3, 3, width=32)), min_size=1))
def test_a_plant_that_does_as_told_stays_in_its_workspace(wishes: list[np.ndarray]) -> None:
    spec = msgspec.structs.replace(SLED, control_rate_hz=20.0)
    guard, at, last = shield(spec), np.zeros(2), np.zeros(2)
    for tick, wish in enumerate(wishes):
        guard.offer(action([wish], tick))
        command = guard.command(stamp(tick), seen(tick, at))
        check(spec, last, command)
        last = command.command
        at = at + last * 0.05
        assert -1.5 - 1e-5 <= at[0] <= 1.0 + 1e-5
        at[1] = np.clip(at[1], -2, 2)


def test_a_command_inside_all_limits_goes_out_as_it_is() -> None:
    guard = shield()
    guard.offer(action(np.float32([[0.1, 0.2], [0.2, 0.1]])))
    for tick, wanted in enumerate(([0.1, 0.2], [0.2, 0.1])):
        command = guard.command(stamp(tick), seen(tick))
        np.testing.assert_array_equal(command.command, np.float32(wanted))
        np.testing.assert_array_equal(command.wanted, np.float32(wanted))
        assert (command.source, command.interventions) == ("system1", ())
        assert command.action_sequence == 1
        assert command.observation_age_ns == tick * PERIOD
        assert command.stamp == stamp(tick)
    assert guard.counts == {}
    guard.offer(action(np.float32([[0.1, 0.2]]), 5))
    assert guard.command(stamp(5), seen(5)).observation_age_ns == 0


def test_every_limit_says_that_it_changed_the_command_and_what_was_wanted() -> None:
    guard = shield()
    guard.offer(action(np.float32([[0.9, 3.0]])))
    command = guard.command(stamp(0), seen(0))
    np.testing.assert_allclose(command.command, [0.15, 0.5])
    np.testing.assert_allclose(command.wanted, [0.9, 3.0])
    assert command.interventions == ("rate_change_limit", "rate_limit")
    guard.offer(action(np.float32([[0.9, 3.0]]), 1))
    command = guard.command(stamp(1), seen(1))
    np.testing.assert_allclose(command.command, [0.45, 1.0])
    guard.offer(action(np.float32([[0.45, 3.0]]), 2))
    command = guard.command(stamp(2), seen(2))
    assert command.interventions == ("rate_change_limit", "rate_limit", "position_limit")
    assert guard.counts == {"rate_change_limit": 3, "rate_limit": 3, "position_limit": 1}


def test_what_hardly_differs_is_no_intervention() -> None:
    guard = box()
    guard.offer(action(np.float64([[1 + HARDLY / 2, 0.0], [1 + HARDLY * 2, 0.0]])))
    assert guard.command(stamp(0), seen(0)).interventions == ()
    assert guard.command(stamp(1), seen(1)).interventions == ("position_limit",)


def test_while_guidance_is_overdue_the_box_is_smaller() -> None:
    for waiting, most, rung in ((39, 0.45, "alone"), (40, 0.25, "expired")):
        guard = shield()
        for tick in range(2):
            guard.offer(action(np.float32([[0.9, 0.0]]), tick, waiting_ticks=waiting))
            command = guard.command(stamp(tick), seen(tick))
        assert command.command[0] == pytest.approx(most)
        assert ("reduced" in command.interventions) == (rung == "expired")
        assert command.rung == rung


def test_guidance_in_use_is_fresh_and_then_ageing() -> None:
    guard = shield()
    for age, rung in ((0, "fresh"), (20, "fresh"), (21, "ageing")):
        guard.offer(action(np.float32([[0.1, 0.0]]), 0, age_ticks=age, waiting_ticks=99))
        assert guard.command(stamp(0), seen(0)).rung == rung


def test_a_rung_that_lets_nobody_command_falls_back_under_its_name() -> None:
    guard = Shield(SLED, ShieldConfig(0.2), ladder(engaged=False))
    guard.offer(action(np.float32([[0.1, 0.3]])))
    command = guard.command(stamp(0), seen(0))
    assert (command.source, command.rung) == ("fallback", "standby")
    assert command.interventions == ("standby",)
    assert "limits" not in guard.ladder.missing()
    strict = {**LADDER.rungs, "expired": "fallback"}
    guard = Shield(SLED, ShieldConfig(0.2), ladder(rungs=strict))
    guard.offer(action(np.float32([[0.1, 0.3]]), waiting_ticks=50))
    command = guard.command(stamp(0), seen(0))
    assert (command.source, command.interventions) == ("fallback", ("expired",))


def test_silent_for_long_it_stops_and_has_to_engage_anew() -> None:
    guard = shield()
    for condition in ("schema", "warm-up"):
        guard.ladder.meet(condition)
    rungs = []
    for tick in range(140):
        if not 1 <= tick <= 110:
            guard.offer(action(np.zeros((1, 2), np.float32), tick))
        rungs.append(guard.command(stamp(tick), seen(tick)).rung)
    # The last action ends with tick 0; from tick 1 on nobody answers, and 5 s are 100 ticks.
    assert rungs[:3] == ["alone", "silent", "silent"]
    assert [rungs.index("stopped"), rungs[100], rungs[110]] == [101, "silent", "stopped"]
    assert [rungs.index("alone", 1), rungs[130]] == [131, "stopped"]


def test_a_new_episode_is_not_silent_from_the_start() -> None:
    guard = shield()
    guard.command(stamp(0), seen(0))
    guard.reset()
    assert guard.command(stamp(150), seen(150)).rung == "silent"


@pytest.mark.parametrize(
    ("commands", "tick", "reason"),
    [
        (np.full((4, 2), np.nan, np.float32), 0, "not_finite"),
        (np.float32([[0.0, np.inf]]), 0, "not_finite"),
        (np.zeros((2, 2), np.float32), 2, "chunk_exhausted"),
        (np.zeros((2, 2), np.float32), -1, "chunk_exhausted"),
        (np.zeros((9, 2), np.float32), 5, "stale_action"),
        (np.zeros((4, 3), np.float32), 0, "wrong_shape"),
        (np.zeros(4, np.float32), 0, "wrong_shape"),
    ],
)
def test_an_unusable_action_falls_back_and_says_why(
    commands: np.ndarray, tick: int, reason: str
) -> None:
    guard = shield()
    guard.offer(action(commands, observation_ns=min(0, tick) * PERIOD))
    command = guard.command(stamp(tick), seen(tick))
    assert command.source == "fallback"
    assert command.interventions == (reason,)
    assert guard.counts == {reason: 1}


def test_without_any_action_it_falls_back() -> None:
    command = shield().command(stamp(0), seen(0))
    assert (command.source, command.interventions) == ("fallback", ("no_action",))
    assert (command.action_sequence, command.observation_age_ns) == (-1, -1)


@pytest.mark.parametrize(("late_ns", "source"), [(0, "system1"), (1, "fallback")])
def test_an_action_is_stale_just_after_its_time(late_ns: int, source: str) -> None:
    guard = shield()
    guard.offer(action(np.zeros((9, 2), np.float32)))
    assert guard.command(stamp(4, late_ns), seen(4)).source == source


def test_an_action_about_what_has_not_been_seen_yet_is_a_lie() -> None:
    guard = shield()
    guard.offer(action(np.zeros((9, 2), np.float32), observation_ns=1))
    command = guard.command(stamp(0), seen(0))
    assert (command.source, command.interventions) == ("fallback", ("future_action",))
    assert guard.command(stamp(1), seen(1)).source == "system1"


def test_the_fallback_comes_gently_and_keeps_the_axes_that_are_left_open() -> None:
    guard = shield()
    guard.reset([np.float32([0.35, 0.7])])
    sent = [guard.command(stamp(tick), seen(tick)).command for tick in range(6)]
    np.testing.assert_allclose([row[0] for row in sent], [0.25, 0.15, 0.05, 0, 0, 0], atol=1e-6)
    guard.reset([np.float32([-0.25, 0.7])])
    sent_up = [guard.command(stamp(tick), seen(tick)).command[0] for tick in range(3)]
    np.testing.assert_allclose(sent_up, [-0.15, -0.05, 0], atol=1e-6)
    np.testing.assert_allclose([row[1] for row in sent], 0.7)


def test_without_rates_the_fallback_comes_at_once() -> None:
    guard = box(CAR)
    np.testing.assert_array_equal(guard.command(stamp(0), seen(0)).command, [-3, 0])


def test_a_car_without_system_1_brakes_to_a_stop_and_does_not_roll_back() -> None:
    guard, speed, sent = shield(CAR), 8.0, []
    for tick in range(120):
        scene = np.zeros((1, len(CAR.scene_fields)))
        command = guard.command(stamp(tick), seen(tick, (speed, 0.0), scene))
        sent.append(float(command.command[0]))
        speed += 0.05 * sent[-1]
        assert speed >= -1e-6
    assert sent[:7] == pytest.approx([-0.5, -1, -1.5, -2, -2.5, -3, -3])
    assert speed == pytest.approx(0, abs=1e-6)
    assert sent[-1] == pytest.approx(0, abs=1e-6)


def test_a_gone_on_drive_has_the_rates_of_its_last_commands() -> None:
    rows = np.float32([[0.1, 0.0], [0.2, 0.1], [0.3, 0.2]])
    for last, before in ((rows, rows[1]), (rows[2:], rows[2])):
        guard = shield()
        guard.reset(list(last))
        guard.offer(action(np.float32([[9.0, 9.0]])))
        sent = guard.command(stamp(0), seen(0)).command
        slope = rows[2] - before
        np.testing.assert_allclose(sent, [0.3 + slope[0] + 0.15, 0.7], rtol=1e-6)


def test_a_reset_forgets_action_state_and_commands() -> None:
    guard = shield()
    guard.offer(action(np.float32([[0.1, 0.4]])))
    guard.command(stamp(0), seen(0))
    guard.reset()
    command = guard.command(stamp(1), seen(1, (math.nan, 0.0)))
    assert command.interventions == ("state_unknown", "no_action")
    np.testing.assert_array_equal(command.command, [0, 0])


def test_a_state_that_can_not_be_true_is_carried_on_by_the_commands() -> None:
    """1.0 is the end of the workspace: blind, it still stops there by what it has commanded."""
    spec = msgspec.structs.replace(SLED, limits=msgspec.structs.replace(
        SLED.limits, axes=(msgspec.structs.replace(SLED.limits.axes[0], rate_change=None),
                           SLED.limits.axes[1])))  # fmt: skip
    guard, at = shield(spec, max_observation_age_s=9.0), 0.9
    for tick in range(30):
        guard.offer(action(np.float32([[1.0, 0.0]]), tick))
        state = (at, 0.0) if tick == 0 else (math.nan if tick % 2 else 77.0, 0.0)
        command = guard.command(stamp(tick), seen(tick, state))
        at += 0.05 * float(command.command[0])
        assert at <= 1.0 + 1e-6
    assert at == pytest.approx(1.0, abs=1e-6)
    assert guard.counts["state_unknown"] == 29
    assert command.source == "system1"


@pytest.mark.parametrize("state", [(0.0,), (0.0, 0.0, 0.0), (0.0, 2.1), (-2.1, 0.0)])
def test_a_state_of_another_shape_or_out_of_range_is_not_believed(state: Any) -> None:
    guard = shield()
    guard.offer(action(np.zeros((9, 2), np.float32)))
    assert guard.command(stamp(0), seen(0)).interventions == ()
    assert guard.command(stamp(1), seen(1, state)).interventions == ("state_unknown",)


def test_the_ends_of_a_state_s_range_are_inside_it_however_they_are_rounded() -> None:
    axis = msgspec.structs.replace(SLED.state[0], low=-math.pi, high=math.pi)
    guard = box(msgspec.structs.replace(fakes.SPEC, state=(axis, axis)))
    for end in (math.pi, -math.pi):
        assert "state_unknown" not in guard.command(stamp(0), seen(0, (end, end))).interventions


def test_blind_for_too_long_it_falls_back() -> None:
    guard, sources = shield(), []
    for tick in range(8):
        guard.offer(action(np.zeros((1, 2), np.float32), tick))
        state = (0.0, 0.0) if tick < 2 else (math.nan, 0.0)
        command = guard.command(stamp(tick), seen(tick, state))
        sources.append(command.source)
    assert sources == ["system1"] * 6 + ["fallback"] * 2
    assert command.interventions == ("state_unknown", "blind")
    never = shield()
    never.offer(action(np.zeros((1, 2), np.float32)))
    assert "blind" in never.command(stamp(0), seen(0, (9.0, 9.0))).interventions


def test_a_state_that_never_changes_while_commands_do_is_stuck() -> None:
    """Four ticks are as long as a state may stay the same; then, as long again, it is blind."""
    guard, told = shield(), []
    for tick in range(12):
        guard.offer(action(np.float32([[0.05 * (tick % 2), 0.0]]), tick))
        told.append(guard.command(stamp(tick), seen(tick, (0.5, 0.0))).interventions)
    assert told == [()] * 5 + [("state_stuck",)] * 4 + [("state_stuck", "blind")] * 3
    guard.offer(action(np.float32([[0.0, 0.0]]), 12))
    assert guard.command(stamp(12), seen(12, (0.51, 0.0))).source == "system1"


def test_a_state_is_stuck_for_as_long_as_it_has_not_changed() -> None:
    guard, told = box(), []
    for tick in range(20):
        guard.offer(action(np.float32([[0.05 * (tick % 2), 0.0]]), tick))
        told.append(guard.command(stamp(tick), seen(tick, (0.01 * min(tick, 10), 0.0))))
    assert [bool(m.interventions) for m in told] == [False] * 15 + [True] * 5


def test_a_steady_command_and_a_steady_state_are_no_fault() -> None:
    guard = box()
    for tick in range(20):
        guard.offer(action(np.float32([[0.4, 0.4]]), tick))
        assert guard.command(stamp(tick), seen(tick, (0.5, 0.0))).interventions == ()


@pytest.mark.parametrize(("low", "high", "middle"), [(0.5, 1.0, 0.5), (-1.0, -0.5, -0.5)])
def test_an_episode_begins_in_the_box(low: float, high: float, middle: float) -> None:
    axis = msgspec.structs.replace(fakes.SPEC.action[1], low=low, high=high)
    guard = box(msgspec.structs.replace(fakes.SPEC, action=(fakes.SPEC.action[0], axis)))
    np.testing.assert_allclose(guard.command(stamp(0), seen(0)).command, [0.0, middle])
    # What is kept of the last command is kept from there, not from nothing.
    assert guard.command(stamp(1), seen(1)).interventions == ("no_action",)


@pytest.mark.parametrize(
    ("waver", "drift", "stuck"),
    [(0.0, 0.0, False), (0.019, 0.0, False), (0.021, 0.0, True), (0.1, 1e-6, False)],
)
def test_who_is_told_to_stand_still_may_and_who_moves_is_not_stuck(
    waver: float, drift: float, stuck: bool
) -> None:
    """The box is two wide: a hundredth of it is 0.02."""
    guard = box()
    for tick in range(20):
        guard.offer(action(np.float32([[0.0, waver * (tick % 2)]]), tick))
        guard.command(stamp(tick), seen(tick, (0.5 + drift * tick, 0.0)))
    assert ("state_stuck" in guard.counts) == stuck


def test_without_limits_in_the_specification_the_box_holds() -> None:
    guard = shield(fakes.SPEC)
    guard.offer(action(np.float32([[9.0, -0.5]])))
    command = guard.command(stamp(0), seen(0))
    np.testing.assert_allclose(command.command, [1.0, -0.5])
    guard.offer(action(np.float32([[np.nan, 0]]), 1))
    np.testing.assert_allclose(guard.command(stamp(1), seen(1)).command, [0.0, -0.5])


def test_what_is_switched_off_is_told() -> None:
    assert ShieldConfig().off == ()
    assert ShieldConfig(rate=False, rss=False).off == ("rate", "rss")
    guard = box()
    guard.offer(action(np.float32([[0.9, -0.9]])))
    np.testing.assert_allclose(guard.command(stamp(0), seen(0)).command, [0.9, -0.9])


@pytest.mark.parametrize("age", [0.0, -1.0, math.nan, math.inf])
def test_an_age_that_is_no_age_is_refused(age: float) -> None:
    with pytest.raises(
        DualsysError,
        match=r"^shield.max_observation_age_s must be a positive number of seconds, it is ",
    ):
        Shield(SLED, ShieldConfig(max_observation_age_s=age), ladder())


def test_a_plant_that_is_let_go_of_comes_to_rest_gently_and_then_gets_the_fallback_itself() -> None:
    """The sled's fallback: x to 0 by 0.1 a tick, y as it is."""
    guard = shield()
    for tick in range(4):
        guard.offer(action(np.float32([[0.5, -0.5]] * 4), tick))
        last = guard.command(stamp(tick), seen(tick)).command
    np.testing.assert_allclose(last, [0.5, -0.5])
    np.testing.assert_allclose(guard.fallback, [0.0, -0.5])
    guard.withdraw()
    gently = guard.command(stamp(4), seen(4))
    assert gently.interventions == ("no_action",)
    np.testing.assert_allclose(gently.command, [0.4, -0.5])
    at_once = guard.stop(stamp(5), "run_failed")
    assert at_once.command.dtype == np.float32
    np.testing.assert_allclose(at_once.command, [0.0, -0.5])
    assert (at_once.source, at_once.interventions) == ("fallback", ("run_failed",))
    assert "no_action" in guard.command(stamp(6), seen(6)).interventions
