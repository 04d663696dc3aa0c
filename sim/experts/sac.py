"""Soft actor-critic in the ego's place: a learned peer, trained by stable-baselines3 on the reward.

Haarnoja et al. 2018 (arXiv 1801.01290). It sees the simulator's state and the way ahead, not the
camera, and learns from upstream's reward alone. `launch/train_sac.py` trains it; only its actor is
kept, as plain arrays.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from dualsys.errors import DualsysError
from sim.driving.route import points_ahead
from sim.driving.spec import SCENE_FIELDS, SPEC
from sim.registry import FIRST_TRAINING_SEED

HELD_TICKS = 3  # a command is held so long: five decisions a second
OBJECTS = 8
WAY_M = np.array([5.0, 10.0, 20.0, 30.0])
SCALES = {"ahead_m": 50.0, "left_m": 10.0, "heading_rad": 3.0, "ahead_mps": 20.0, "left_mps": 10.0}
STATE_SCALES = np.array([20.0, 5.0, 0.5, 4.0, 0.5, 1.0, 1.0, 20.0], np.float32)
ACTOR = "actor.safetensors"
LAYERS = ("w0", "b0", "w1", "b1", "w2", "b2")


def features(world: Any) -> np.ndarray:
    """What the policy sees of a `HighwayWorld`, float32 (F,), about the size of one.

    The ego's state, presence and motion of the nearest objects, and the way ahead in its frame.
    """
    ego = world.upstream.vehicle
    state, scene = world.measured()
    at = [SCENE_FIELDS.index(name) for name in ("present", *SCALES)]
    objects = scene[:OBJECTS, at] / np.array([1.0, *SCALES.values()], np.float32)
    points, _ = points_ahead(ego, world.route, ego.lane_index, WAY_M)
    cos, sin = np.cos(ego.heading), np.sin(ego.heading)
    # highway-env's y points to the right; the scene's numbers are ahead and to the left.
    way = (points - ego.position) @ np.array([[cos, sin], [sin, -cos]]) / WAY_M[:, None]
    return np.concatenate([state / STATE_SCALES, objects.ravel(), way.ravel()]).astype(np.float32)


def to_command(action: np.ndarray) -> np.ndarray:
    """The command [m/s2, rad] of an action in [-1, 1] (2,)."""
    half = (SPEC.action_high - SPEC.action_low) / 2
    return (SPEC.action_low + (np.clip(action, -1, 1) + 1) * half).astype(np.float32)


class StateWorld(gymnasium.Env[np.ndarray, np.ndarray]):
    """Worlds of several scenarios by turns, with `features` as observation, for training."""

    def __init__(self, worlds: list[Any]) -> None:
        foreign = {w.world_spec.domain for w in worlds} - {SPEC.domain}
        if foreign:
            raise DualsysError(f"this peer drives; {sorted(foreign)} has no vehicle")
        self._worlds, self._world, self._turn = worlds, worlds[0], 0
        self._world.reset(seed=0)
        size = features(self._world).shape
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, size, np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode of the next world; with a seed, of the first one."""
        super().reset(seed=seed)
        if seed is not None:
            self._turn = 0
        self._world = self._worlds[self._turn % len(self._worlds)]
        self._turn += 1
        self._world.reset(seed=int(self.np_random.integers(FIRST_TRAINING_SEED, 2**31)))
        return features(self._world), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Hold a command for `HELD_TICKS`; the reward is upstream's, summed."""
        total = 0.0
        for _ in range(HELD_TICKS):
            _, reward, terminated, truncated, _ = self._world.step(to_command(action))
            total += reward
            if terminated or truncated:
                break
        return features(self._world), total, terminated, truncated, {}


class SacDriver:
    """The trained actor at the wheel; deterministic."""

    def __init__(self, world: Any, folder: Path) -> None:
        """Raises `DualsysError` for a folder without an actor, or with one for other features."""
        from safetensors.numpy import load_file

        if not (folder / ACTOR).is_file():
            raise DualsysError(
                f"no actor in {folder}; train one with `python launch/train_sac.py --out DIR` and "
                "give system1.checkpoint=DIR"
            )
        arrays = load_file(folder / ACTOR)
        missing = set(LAYERS) - set(arrays)
        if missing:
            raise DualsysError(f"{folder / ACTOR} lacks {sorted(missing)}; train it again")
        self._world, self._layers = world, [arrays[name] for name in LAYERS]
        self.reset()

    def reset(self) -> None:
        """Decide at the next tick."""
        self._left = 0

    def act(self, told: int = -1, age_ticks: int = 0) -> tuple[np.ndarray, int]:
        """Return the command [m/s2, rad]; plans are not asked for, and its own is the first."""
        if self._left == 0:
            self._command, self._left = self._decide(), HELD_TICKS
        self._left -= 1
        return self._command, 0

    def _decide(self) -> np.ndarray:
        w0, b0, w1, b1, w2, b2 = self._layers
        seen = features(self._world)
        if seen.shape != w0.shape[1:]:
            raise DualsysError(
                f"the actor takes {w0.shape[1]} features, this world gives {len(seen)}; train it "
                "again"
            )
        hidden = np.maximum(w1 @ np.maximum(w0 @ seen + b0, 0.0) + b1, 0.0)
        return to_command(np.tanh(w2 @ hidden + b2))


def actor_layers(model: Any) -> list[np.ndarray]:
    """Weights and biases of the actor of a stable-baselines3 `SAC` with two hidden layers."""
    actor = model.actor
    parts = [actor.latent_pi[0], actor.latent_pi[2], actor.mu]
    return [tensor.detach().numpy() for part in parts for tensor in (part.weight, part.bias)]


def save_actor(folder: Path, layers: list[np.ndarray], about: dict[str, Any]) -> None:
    """Write the actor's layers (weight, bias, ...) and what made them; the files appear whole."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    arrays = {n: np.ascontiguousarray(a) for n, a in zip(LAYERS, layers, strict=True)}
    save_file(arrays, folder / f"{ACTOR}.partial")
    (folder / f"{ACTOR}.partial").replace(folder / ACTOR)
    partial = folder / "about.json.partial"
    partial.write_text(json.dumps(about, indent=1))
    partial.replace(folder / "about.json")
