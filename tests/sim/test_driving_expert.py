from __future__ import annotations

import numpy as np
import pytest

from sim import registry
from sim.driving.spec import CONTROL_RATE_HZ, SPEC
from sim.experts.driving import OBEYED_S


def end_speed(plan: str, begun_ticks: int = 0) -> float:
    """Speed after two seconds under a plan that is `begun_ticks` old at their beginning."""
    world = registry.make("driving/highway")
    expert = registry.expert_for(world)
    frame, _ = world.reset(seed=5)
    expert.reset()
    for tick in range(round(OBEYED_S * CONTROL_RATE_HZ)):
        command, _ = expert.act(SPEC.plans.index(plan), begun_ticks + tick)
        assert np.isfinite(command).all()
        frame, *_ = world.step(command)
    world.close()
    return float(frame["state"][0])


def test_a_told_plan_makes_the_expert_more_careful() -> None:
    yielding, following, cruising = (end_speed(plan) for plan in ("yield", "follow", "cruise"))
    assert yielding < following - 1.0
    assert following <= cruising
    assert cruising == pytest.approx(end_speed("change_left"), abs=6.0), "lanes cost no such speed"


def test_a_plan_that_is_too_old_slows_nobody_down() -> None:
    old = round(OBEYED_S * CONTROL_RATE_HZ) + 1
    assert end_speed("yield", old) == end_speed("cruise", old)
