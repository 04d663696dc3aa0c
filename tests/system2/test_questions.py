from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
import pytest

from dualsys.errors import DualsysError, UnknownNameError
from dualsys.spec import WorldSpec
from dualsys.system2.questions import (
    BUDGETS,
    Slot,
    asked,
    balanced_weights,
    chain,
    true_answers,
)
from sim.driving.spec import SPEC as DRIVING
from sim.manipulation.metaworld import SPEC as ARM
from tests.fakes import SPEC as FAKE


def car(**fields: float) -> np.ndarray:
    values = {"present": 1.0, "length_m": 5.0, "width_m": 2.0, **fields}
    return np.array([values.get(name, 0.0) for name in DRIVING.scene_fields], np.float32)


def drive(*cars: np.ndarray, **axes: float) -> dict[str, str]:
    known = {"speed": 20.0, "cruise_speed": 28.0, "lane_to_left": 1.0, **axes}
    state = np.array([known.get(axis.name, 0.0) for axis in DRIVING.state], np.float32)
    scene = np.zeros((DRIVING.scene_rows, len(DRIVING.scene_fields)), np.float32)
    for row, values in enumerate(cars):
        scene[row] = values
    return true_answers(DRIVING, state, scene, 0)


def reach(
    hand: tuple[float, ...], thing: tuple[float, ...], goal: tuple[float, ...], **axes: float
):
    scene = np.zeros((ARM.scene_rows, len(ARM.scene_fields)), np.float32)
    for row, point in ((0, hand), (1, thing), (3, goal)):
        scene[row, :4] = (1.0, *point)
    state = np.array([axes.get(axis.name, 0.0) for axis in ARM.state], np.float32)
    return true_answers(ARM, state, scene, ARM.plans.index("push"))


@pytest.mark.parametrize("plan", [-1, len(DRIVING.plans)])
def test_where_no_plan_was_there_is_no_truth_about_it(plan: int) -> None:
    state = np.zeros(len(DRIVING.state), np.float32)
    scene = np.zeros((DRIVING.scene_rows, len(DRIVING.scene_fields)), np.float32)
    with pytest.raises(DualsysError, match=rf"plan {plan} is none of the 5 plans"):
        true_answers(DRIVING, state, scene, plan)


def test_an_empty_road_is_free() -> None:
    answers = drive()
    assert answers["scene"] == "free, none, none, none."
    assert answers["hazard"] == "none, none."
    assert answers["state"] == "cruising, free."
    assert answers["plan"] == f"{DRIVING.plans[0]}."


def test_a_slow_leader_is_a_closing_hazard() -> None:
    leader = car(ahead_m=30.0, gap_m=25.0, ahead_mps=8.0)
    answers = drive(leader)
    assert answers["scene"] == "free, none, near, none."
    assert answers["hazard"] == "ahead, closing."
    assert answers["state"] == "cruising, closing."


def test_a_vehicle_from_the_left_crosses() -> None:
    other = car(ahead_m=20.0, left_m=20.0, left_mps=-20.0, heading_rad=1.57, lane_offset=99.0)
    assert drive(other)["hazard"].endswith("crossing.")


def test_a_vehicle_beside_takes_the_lane() -> None:
    assert drive(car(left_m=4.0, lane_offset=-1.0))["scene"].startswith("taken,")
    assert drive(lane_to_left=0.0)["scene"].startswith("none,")


def test_the_arm_tells_where_the_object_is_and_how_far_the_task() -> None:
    answers = reach((0.0, 0.6, 0.2), (0.1, 0.8, 0.02), (-0.1, 0.8, 0.02), gripper_opening=1.0)
    assert answers == {
        "scene": "right, back, low.",
        "hazard": "far, back.",
        "state": "open, far, approach.",
        "plan": "push.",
    }
    held = reach((0.0, 0.7, 0.02), (0.0, 0.7, 0.01), (0.0, 0.8, 0.02), gripper_opening=0.4)
    assert held["state"] == "closed, near, move."
    assert reach((0, 0.7, 0), (0, 0.7, 0), (0, 0.7, 0.01))["state"].endswith("done.")


@pytest.mark.parametrize("spec", [DRIVING, ARM], ids=lambda spec: spec.domain)
def test_every_true_answer_parses(spec: WorldSpec) -> None:
    rng = np.random.default_rng(0)
    spread = 20.0 if spec.domain == "driving" else 0.1
    seen: dict[str, Counter[str]] = {q.name: Counter() for q in chain(spec)}
    for _ in range(200):
        state = rng.normal(0, 10, len(spec.state)).astype(np.float32)
        scene = rng.normal(0, spread, (spec.scene_rows, len(spec.scene_fields))).astype(np.float32)
        scene[:, 0] = rng.random(spec.scene_rows) > 0.5
        answers = true_answers(spec, state, scene, int(rng.integers(len(spec.plans))))
        for question in chain(spec):
            parsed = question.parse(answers[question.name])
            assert list(parsed) == [slot.name for slot in question.slots]
            seen[question.name][answers[question.name]] += 1
    assert all(len(counts) > 3 for counts in seen.values()), seen


def test_a_foreign_answer_is_refused() -> None:
    question = chain(DRIVING)[1]
    with pytest.raises(UnknownNameError, match=r"hazard where 'above'.*ahead"):
        question.parse("above, none.")
    with pytest.raises(DualsysError, match=r"has 1 words.*where.*motion"):
        question.parse("ahead.")


def test_a_world_of_another_domain_is_asked_for_its_plan_alone() -> None:
    sailing = msgspec.structs.replace(FAKE, domain="sailing")
    for budget in BUDGETS:
        (question,) = asked(sailing, budget)
        assert question.slots == (Slot("plan", FAKE.plans),)
    state, scene = np.zeros(2, np.float32), np.ones((1, 3), np.float32)
    assert true_answers(sailing, state, scene, 1) == {"plan": "stay."}


def test_rare_answers_are_drawn_as_often_as_frequent_ones() -> None:
    answers = ["a"] * 90 + ["b"] * 10
    weights = balanced_weights(answers)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[:90].sum() == pytest.approx(weights[90:].sum())
