from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dualsys.messages import Action, Stamp
from dualsys.system1.shield import Shield, ShieldConfig
from tests.fakes import SPEC

PERIOD = SPEC.period_ns


def action(commands: np.ndarray, tick: int) -> Action:
    stamp = Stamp(1, 0, tick + 1, tick, tick * PERIOD)
    return Action(stamp, tick, commands, tick * PERIOD, 0.0, tick, -1, -1, 0)


def stamp(tick: int) -> Stamp:
    return Stamp(1, 0, tick + 1, tick, tick * PERIOD)


def shield() -> Shield:
    return Shield(SPEC, ShieldConfig(max_observation_age_s=0.2))


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=4),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    ),
    st.integers(0, 20),
)
def test_the_command_is_always_finite_and_inside_the_limits(
    commands: np.ndarray, tick: int
) -> None:
    guard = shield()
    guard.offer(action(commands, 0))
    sent = guard.command(stamp(tick)).command
    assert sent.shape == (2,)
    assert np.all(sent >= SPEC.action_low)
    assert np.all(sent <= SPEC.action_high)


@pytest.mark.parametrize(
    ("commands", "tick", "reason"),
    [
        (np.full((4, 2), np.nan, np.float32), 0, "not_finite"),
        (np.zeros((2, 2), np.float32), 2, "chunk_exhausted"),
        (np.zeros((9, 2), np.float32), 5, "stale_action"),
        (np.zeros((4, 3), np.float32), 0, "wrong_shape"),
    ],
)
def test_an_unusable_action_falls_back_and_says_why(
    commands: np.ndarray, tick: int, reason: str
) -> None:
    guard = shield()
    guard.offer(action(commands, 0))
    command = guard.command(stamp(tick))
    assert command.source == "fallback"
    assert command.interventions == (reason,)
    assert guard.counts == {reason: 1}


def test_the_fallback_keeps_the_axes_that_the_specification_leaves_open() -> None:
    guard = shield()
    guard.offer(action(np.array([[0.5, 0.7]], np.float32), 0))
    assert guard.command(stamp(0)).source == "system1"
    command = guard.command(stamp(1))
    np.testing.assert_allclose(command.command, [0.0, 0.7])


def test_a_command_outside_the_limits_is_clipped_and_counted() -> None:
    guard = shield()
    guard.offer(action(np.array([[3.0, 0.0]], np.float32), 0))
    command = guard.command(stamp(0))
    np.testing.assert_allclose(command.command, [1.0, 0.0])
    assert command.interventions == ("position_limit",)
