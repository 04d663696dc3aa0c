"""The world contract as an executable check: run it on a world of your own before anything else."""

from __future__ import annotations

from typing import Any

import numpy as np

from dualsys.clock import MonotonicClock, RateKeeper, sleep_until
from dualsys.errors import SpecMismatchError
from dualsys.limits import check_limits
from dualsys.spec import WorldSpec
from sim.world import Frame, LiveWorld, SavableWorld

OTHERS = 8  # seeds that may not all begin alike


def check_world(world: Any, seed: int = 0, ticks: int = 20) -> None:
    """Raise `SpecMismatchError` at the first clause of the contract that `world` breaks.

    Checked: the spaces and every frame fit the specification; nothing is NaN; cameras keep their
    period; equal seeds and commands give equal rollouts, also after another episode, and after
    going back in a world that can; seeds do not all begin alike.

    A robot is commanded its fallback alone, on the wall clock, and no two rollouts are compared.
    """
    spec: WorldSpec = world.world_spec
    _check_spec(spec)
    _check_spaces(world, spec)
    if isinstance(world, LiveWorld):
        _check_live(world, spec, seed, ticks)
        return
    first = _rollout(world, spec, seed, ticks)
    _rollout(world, spec, seed + 1, ticks)  # must leave no trace in the next one
    second = _rollout(world, spec, seed, ticks)
    if len(first) != len(second):
        raise SpecMismatchError(
            f"two rollouts with seed {seed} last {len(first)} and {len(second)} ticks; "
            "seed everything random in reset"
        )
    remedy = "seed everything random in reset and forget the last episode"
    _check_same(first, second, f"two rollouts with seed {seed}", remedy)
    _check_others(world, seed)
    if isinstance(world, SavableWorld):
        again = _rollout(world, spec, seed, ticks, turn_back=True)
        _check_same(first, again, "what was done and what came after restore()", "save all of it")


def _check_live(world: Any, spec: WorldSpec, seed: int, ticks: int) -> None:
    """Frames of a robot that is left where it is; it is stopped whatever comes of it."""
    middle = np.zeros(len(spec.action)).clip(spec.action_low, spec.action_high)
    still = [m if f is None else f for m, f in zip(middle, spec.fallback, strict=True)]
    command, clock = np.array(still, np.float32), MonotonicClock()
    frame, info = world.reset(seed=seed)
    keeper = RateKeeper(spec.period_ns, clock.now_ns())
    try:
        for tick in range(ticks):
            _check_frame(world, spec, frame, info, tick)
            sleep_until(keeper.advance(clock.now_ns())[0], clock)
            frame, _, _, _, info = world.step(command)
    finally:
        world.stop(command)


def _check_same(
    first: list[dict[str, np.ndarray]],
    second: list[dict[str, np.ndarray]],
    both: str,
    remedy: str,
) -> None:
    for tick, (one, two) in enumerate(zip(first, second, strict=True)):
        for name in one:
            if not np.array_equal(one[name], two[name]):
                raise SpecMismatchError(f"{both} differ in {name!r} at tick {tick}; {remedy}")


def _check_others(world: Any, seed: int) -> None:
    """Raise where all seeds begin alike: a rate over seeds would count one episode many times.

    Two may: what makes them differ can be out of sight.
    """
    first = _flat(world.reset(seed=seed)[0], 0.0)
    for other in range(seed + 1, seed + OTHERS):
        frame = _flat(world.reset(seed=other)[0], 0.0)
        if any(not np.array_equal(first[name], frame[name]) for name in first):
            return
    raise SpecMismatchError(
        f"the seeds {seed} to {seed + OTHERS - 1} all begin with the same frame; draw in reset, "
        "from the seed, what is to differ between episodes"
    )


def _check_spec(spec: WorldSpec) -> None:
    for axis in (*spec.state, *spec.action):
        if not axis.low < axis.high:
            raise SpecMismatchError(f"axis {axis.name}: low {axis.low} is not below {axis.high}")
    if len(spec.fallback) != len(spec.action):
        raise SpecMismatchError(
            f"fallback has {len(spec.fallback)} values, the action has {len(spec.action)} axes"
        )
    if spec.limits is not None:
        action, state = ([axis.name for axis in axes] for axes in (spec.action, spec.state))
        check_limits(spec.limits, action, state, spec.motion)
    if len(set(spec.plans)) != len(spec.plans) or "present" not in spec.scene_fields:
        raise SpecMismatchError("plans must be distinct and scene_fields must hold 'present'")


def _check_spaces(world: Any, spec: WorldSpec) -> None:
    space = world.action_space
    same = np.array_equal(space.low, spec.action_low) and np.array_equal(
        space.high, spec.action_high
    )
    if not same:
        raise SpecMismatchError(
            f"the action space is {space.low}..{space.high}, the specification says "
            f"{spec.action_low}..{spec.action_high}"
        )


def _rollout(
    world: Any, spec: WorldSpec, seed: int, ticks: int, turn_back: bool = False
) -> list[dict[str, np.ndarray]]:
    """Frames of some ticks; with `turn_back`, each tick is first tried with another command."""
    rng = np.random.default_rng(seed)
    middle = (spec.action_low + spec.action_high) / 2
    reach = (spec.action_high - spec.action_low) / 2
    frame, info = world.reset(seed=seed)
    rows = [_flat(frame, 0.0)]
    _check_frame(world, spec, frame, info, 0)
    for tick in range(1, ticks + 1):
        command = middle + reach * rng.uniform(-0.5, 0.5, len(middle))
        if turn_back:
            saved = world.save()
            for _ in range(4):
                world.step((middle - reach * 0.4).astype(np.float32))
            world.restore(saved)
        frame, reward, terminated, truncated, info = world.step(command.astype(np.float32))
        _check_frame(world, spec, frame, info, tick)
        if not np.isfinite(reward):
            raise SpecMismatchError(f"the reward of tick {tick} is {reward}, not a finite number")
        rows.append(_flat(frame, reward))
        if terminated or truncated:
            break
    return rows


def _flat(frame: Frame, reward: float) -> dict[str, np.ndarray]:
    images = {f"image {name}": image.copy() for name, image in frame["images"].items()}
    return {
        **images,
        "state": frame["state"].copy(),
        "scene": frame["scene"].copy(),
        "reward": np.array(reward),
    }


def _check_frame(
    world: Any, spec: WorldSpec, frame: Frame, info: dict[str, Any], tick: int
) -> None:
    if not world.observation_space.contains(frame):
        shapes = {name: image.shape for name, image in frame["images"].items()}
        raise SpecMismatchError(
            f"the frame of tick {tick} is not in the observation space: images {shapes}, state "
            f"{frame['state'].dtype} {frame['state']}, scene {frame['scene'].shape}; expected "
            f"{world.observation_space}"
        )
    for name in ("state", "scene"):
        if not np.isfinite(frame[name]).all():
            raise SpecMismatchError(f"the {name} of tick {tick} holds values that are not finite")
    missing = {"success", "collision", "image_ticks", "metrics"} - set(info)
    if missing:
        raise SpecMismatchError(f"info of tick {tick} lacks {sorted(missing)}")
    for camera in spec.cameras:
        taken = info["image_ticks"][camera.name]
        if isinstance(world, LiveWorld):  # its cameras have clocks of their own
            if not 0 <= taken <= tick:
                raise SpecMismatchError(
                    f"camera {camera.name!r} says at tick {tick} that its image is of tick {taken}"
                )
        elif taken != tick // camera.period_ticks * camera.period_ticks:
            raise SpecMismatchError(
                f"camera {camera.name!r} has period {camera.period_ticks} ticks, at tick {tick} "
                f"its image is of tick {taken}"
            )
