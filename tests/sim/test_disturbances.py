from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from dualsys.errors import DualsysError, UnknownNameError
from sim import registry
from sim.contract import check_world
from sim.manipulation.disturbances import DISTURBANCES, GripperSlip, disturbed_tasks, parse

pytestmark = pytest.mark.rendering
STILL = np.zeros(4, np.float32)


def of(name: str) -> Any:
    return registry.make(f"manipulation/{name}")


@pytest.mark.parametrize("kind", DISTURBANCES)
def test_every_disturbance_keeps_the_contract(kind: str) -> None:
    task = DISTURBANCES[kind].tasks[0]
    world = of(f"{task}+{kind}@0.9")
    try:
        check_world(world, seed=7, ticks=70)
    finally:
        world.close()


def states(world: Any, seed: int, ticks: int, action: np.ndarray = STILL) -> list[Any]:
    frames = [world.reset(seed=seed)[0]]
    frames += [world.step(action)[0] for _ in range(ticks)]
    return frames


def test_the_object_moves_once_and_by_what_the_level_says() -> None:
    for level in (0.0, 1.0):
        world, plain = of(f"push+object_moved@{level}"), of("push")
        moved, still = (states(w, 3, 60) for w in (world, plain))
        steps = [np.linalg.norm(b["scene"][1, 1:3] - a["scene"][1, 1:3])
                 for a, b in itertools.pairwise(moved)]  # fmt: skip
        assert sum(step > 0.01 for step in steps) == 1
        assert max(steps) == pytest.approx(0.02 + 0.06 * level, abs=0.015)
        np.testing.assert_allclose(moved[0]["scene"], still[0]["scene"])
        world.close()
        plain.close()


def test_the_grip_is_lost_for_a_while_after_it_closed() -> None:
    slip = GripperSlip(1.0, np.random.default_rng(0))
    closed = np.array([0, 0, 0, 1.0], np.float32)
    effort = [slip.command(tick, closed)[3] for tick in range(120)]
    assert effort.count(-1.0) == 30
    assert effort[:10] == [1.0] * 10
    assert effort[-1] == 1.0
    never = GripperSlip(1.0, np.random.default_rng(0))
    assert all(never.command(tick, STILL)[3] == 0 for tick in range(200))


def test_the_cameras_are_covered_and_free_again() -> None:
    world, plain = of("reach+camera_occluded@1"), of("reach")
    covered, free = (states(w, 5, 200) for w in (world, plain))
    differ = [
        bool((a["images"]["front"] != b["images"]["front"]).any())
        for a, b in zip(covered, free, strict=True)
    ]
    assert 80 <= sum(differ) <= 125
    assert not differ[-1]
    worst = max(
        (a["images"]["front"] != b["images"]["front"]).any(-1).mean()
        for a, b in zip(covered, free, strict=True)
    )
    assert worst == pytest.approx(0.64, abs=0.1), "a square of eight tenths"
    world.close()
    plain.close()


def test_physics_are_shifted_and_put_back() -> None:
    world = of("pick-place+shifted_physics@1.0")
    model = world.upstream.model
    before = model.body_mass.copy(), model.geom_friction.copy()
    for _ in range(2):
        world.reset(seed=1)
        heavier = model.body_mass / np.maximum(before[0], 1e-9)
        thing = model.body("obj").id
        assert heavier[thing] == pytest.approx(3.0), "not nine times after two resets"
        assert heavier[model.body("right_l3").id] == pytest.approx(1.0)
        np.testing.assert_allclose(model.geom_friction, 0.4 * before[1])
    world.close()


def constants(model: Any) -> dict[str, np.ndarray]:
    arrays = {name: getattr(model, name) for name in dir(model) if not name.startswith("_")}
    found = {name: a.copy() for name, a in arrays.items() if isinstance(a, np.ndarray)}
    means = {name: np.array(getattr(model.stat, name)) for name in ("meanmass", "meaninertia")}
    return found | means


@pytest.mark.parametrize("task", ["pick-place", "peg-insert-side", "door-open"])
def test_what_the_solver_derives_from_the_masses_is_shifted_and_put_back(task: str) -> None:
    world, plain = of(f"{task}+shifted_physics@1.0"), of(task)
    plain.reset(seed=1)
    usual = constants(plain.upstream.model)
    world.reset(seed=1)
    shifted = constants(world.upstream.model)
    # Three times the mass of what is not the robot: a third of the inverse weight there.
    body = int(np.argmax(shifted["body_mass"] / np.maximum(usual["body_mass"], 1e-9)))
    weight = shifted["body_invweight0"][body], usual["body_invweight0"][body]
    np.testing.assert_allclose(weight[0], weight[1] / 3, rtol=1e-6)
    assert shifted["body_subtreemass"][0] > usual["body_subtreemass"][0]
    assert world.upstream.model.stat.extent == plain.upstream.model.stat.extent
    world._kind = "distractors"  # which leaves physics alone
    world.reset(seed=1)
    for name, value in constants(world.upstream.model).items():
        np.testing.assert_array_equal(value, usual[name], err_msg=name)
    world.close()
    plain.close()


def test_shifted_episodes_do_not_depend_on_the_one_before() -> None:
    world = of("pick-place+shifted_physics@0.7")
    push = np.array([0.2, 0.5, -1.0, 1.0], np.float32)
    one = [frame["scene"] for frame in states(world, 4, 60, push)]
    states(world, 5, 20, push)
    two = [frame["scene"] for frame in states(world, 4, 60, push)]
    np.testing.assert_array_equal(one, two)
    world.close()


def test_a_thing_slips_more_on_the_table_and_in_the_grip() -> None:
    world, plain = of("pick-place+shifted_physics@1.0"), of("pick-place")
    world.reset(seed=1)
    plain.reset(seed=1)
    for pair in (("objGeom", "rightpad_geom"), ("objGeom", "floor")):
        now, before = (
            max(w.upstream.model.geom(name).friction[0] for name in pair) for w in (world, plain)
        )
        assert now == pytest.approx(0.4 * before), "MuJoCo takes the greater of two that touch"
    world.close()
    plain.close()


def test_distractors_are_seen_and_not_touched() -> None:
    world, plain = of("push+distractors@1"), of("push")
    seen, bare = (states(w, 2, 30) for w in (world, plain))
    changed = (seen[0]["images"]["front"] != bare[0]["images"]["front"]).any(-1)
    assert 0.005 < changed.mean() < 0.5
    np.testing.assert_array_equal(seen[-1]["scene"], bare[-1]["scene"])
    world.close()
    plain.close()


def test_the_opposite_is_asked_for_first() -> None:
    world = of("window-close+instruction_changed@0")
    world.reset(seed=0)
    said = [world.instruction]
    for _ in range(25):
        world.step(STILL)
        said.append(world.instruction)
    assert said[:20] == ["slide the window open"] * 20
    assert set(said[20:]) == {"slide the window shut"}
    assert all(world.plan_hints[text] in world.world_spec.plans for text in said)
    world.close()


def test_a_disturbed_episode_can_be_gone_back_to() -> None:
    world = of("push+object_moved@1")
    world.reset(seed=3)
    for _ in range(5):
        world.step(STILL)
    saved = world.save()
    one = [world.step(STILL)[0]["scene"] for _ in range(60)]
    world.restore(saved)
    two = [world.step(STILL)[0]["scene"] for _ in range(60)]
    np.testing.assert_array_equal(one, two)
    world.close()


@pytest.mark.parametrize(
    ("name", "told"),
    [("pull+object_moved", "pick-place"), ("push+earthquake", "gripper_slip"),
     ("reach+object_moved", "but of push"), ("push+object_moved@2", "from 0 to 1"),
     ("push+object_moved@much", "from 0 to 1")],
)  # fmt: skip
def test_a_wrong_name_is_one_clear_line(name: str, told: str) -> None:
    with pytest.raises((DualsysError, UnknownNameError), match=told):
        registry.require(f"manipulation/{name}")


def test_the_suite_lists_what_goes_together() -> None:
    suite = registry.suite("disturbed")
    assert len(suite) == len(disturbed_tasks()) == len(set(suite))
    for name in suite:
        registry.require(name)
    assert parse("push+gripper_slip") == ("push", "gripper_slip", 0.5)
