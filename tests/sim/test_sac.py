from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from dualsys.errors import DualsysError
from sim import registry
from sim.driving.spec import SPEC
from sim.experts.sac import (
    HELD_TICKS,
    SacDriver,
    StateWorld,
    actor_layers,
    features,
    save_actor,
    to_command,
)
from tests.test_launch import run


def layers(size: int, rng: np.random.Generator) -> list[np.ndarray]:
    shapes = [(16, size), (16,), (16, 16), (16,), (2, 16), (2,)]
    return [rng.normal(0, 0.5, shape).astype(np.float32) for shape in shapes]


def test_the_training_world_is_a_gymnasium_environment() -> None:
    world = StateWorld([registry.make("driving/merge"), registry.make("driving/cut_in@0.5")])
    check_env(world, skip_render_check=True, skip_close_check=True)
    lengths = []
    for seed in (1, None):
        world.reset(seed=seed)
        over, steps = False, 0
        while not over:
            _, reward, terminated, truncated, _ = world.step(np.zeros(2, np.float32))
            over, steps = terminated or truncated, steps + 1
            assert np.isfinite(reward)
        lengths.append(steps)
    assert lengths[0] != lengths[1], "the scenarios take turns"


def test_actions_span_the_commands() -> None:
    np.testing.assert_allclose(to_command(np.array([-1.0, -2.0])), SPEC.action_low)
    np.testing.assert_allclose(to_command(np.array([1.0, 9.0])), SPEC.action_high)
    np.testing.assert_allclose(to_command(np.zeros(2)), [0.0, 0.0], atol=1e-6)


def test_the_driver_holds_its_command_and_repeats(tmp_path: Path) -> None:
    world = registry.make("driving/roundabout")
    world.reset(seed=3)
    size = len(features(world))
    save_actor(tmp_path, layers(size, np.random.default_rng(0)), {"steps": 0})
    driver = SacDriver(world, tmp_path)
    drives = []
    for _ in range(2):
        world.reset(seed=3)
        driver.reset()
        drives.append([])
        for _ in range(4 * HELD_TICKS):
            command, _ = driver.act()
            drives[-1].append(command)
            world.step(command)
    first = np.stack(drives[0])
    np.testing.assert_array_equal(first, np.stack(drives[1]))
    held = first.reshape(4, HELD_TICKS, 2)
    assert (held == held[:, :1]).all()
    assert len(np.unique(held[:, 0], axis=0)) == 4


def test_actors_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    world = registry.make("driving/merge")
    world.reset(seed=0)
    with pytest.raises(DualsysError, match=r"train_sac\.py"):
        SacDriver(world, tmp_path)
    save_actor(tmp_path, layers(7, np.random.default_rng(0)), {})
    with pytest.raises(DualsysError, match="takes 7 features"):
        SacDriver(world, tmp_path).act()


def test_the_driver_does_what_the_trained_model_would(tmp_path: Path) -> None:
    library = pytest.importorskip("stable_baselines3", reason="the extra `peers` is missing")
    world = registry.make("driving/merge")
    model = library.SAC("MlpPolicy", StateWorld([world]), buffer_size=10, device="cpu")
    save_actor(tmp_path, actor_layers(model), {})
    driver = SacDriver(world, tmp_path)
    world.reset(seed=5)
    for _ in range(5):
        wanted, _ = model.predict(features(world), deterministic=True)
        command, _ = driver.act()
        np.testing.assert_allclose(command, to_command(wanted), atol=1e-5)
        for _ in range(HELD_TICKS - 1):
            world.step(command)
            driver.act()
        world.step(command)


def test_what_has_no_vehicle_is_refused() -> None:
    with pytest.raises(DualsysError, match="'manipulation'"):
        StateWorld([registry.make("manipulation/reach")])


def test_the_script_leaves_an_actor(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3", reason="the extra `peers` is not installed")
    done = run("launch/train_sac.py", "--steps", "20", "--suites", "driving", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    world = registry.make("driving/merge")
    world.reset(seed=0)
    command, _ = SacDriver(world, tmp_path).act()
    assert np.isfinite(command).all()
