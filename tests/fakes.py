"""A point that is pushed about: a small deterministic world with a slow camera, and its parts."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np

from dualsys.spec import AxisSpec, CameraSpec, WorldSpec
from kernels.engine import TensorSpec
from sim.world import frame_space

SPEC = WorldSpec(
    domain="manipulation",
    cameras=(CameraSpec("eye", 16, 16, 3, 2),),
    state=(AxisSpec("x", "m", -2.0, 2.0), AxisSpec("y", "m", -2.0, 2.0)),
    action=(AxisSpec("vx", "m/s", -1.0, 1.0), AxisSpec("vy", "m/s", -1.0, 1.0)),
    control_rate_hz=20.0,
    plans=("go", "stay"),
    scene_fields=("present", "x_m", "y_m"),
    scene_rows=1,
    fallback=(0.0, None),
)


class PointWorld(gymnasium.Env):
    """Reach the origin; success within 10 cm."""

    world_spec = SPEC
    instruction = "go to the origin"
    plan_hints: ClassVar[dict[str, str]] = {"go to the origin": "go"}

    def __init__(self) -> None:
        self.action_space = gymnasium.spaces.Box(SPEC.action_low, SPEC.action_high)
        self.observation_space = frame_space(SPEC)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = self.np_random.uniform(-1, 1, 2)
        self.ticks = 0
        return self._frame(), self._info()

    def step(self, action):
        self.at = np.clip(self.at + np.asarray(action) / SPEC.control_rate_hz, -2, 2)
        self.ticks += 1
        done = self.ticks >= 60
        return self._frame(), -float(np.linalg.norm(self.at)), False, done, self._info()

    def close(self) -> None:
        pass

    def _frame(self) -> Any:
        if self.ticks % 2 == 0:
            self.image = np.zeros((16, 16, 3), np.uint8)
            row, column = np.clip((self.at + 2) * 4, 0, 15).astype(int)
            self.image[row, column] = 255
        return {
            "images": {"eye": self.image},
            "state": self.at.astype(np.float32),
            "scene": np.array([[1.0, 0.0, 0.0]], np.float32),
        }

    def _info(self) -> dict[str, Any]:
        success = bool(np.linalg.norm(self.at) < 0.1)
        ticks = {"eye": self.ticks // 2 * 2}
        return {"success": success, "collision": False, "image_ticks": ticks, "metrics": {}}


class PointExpert:
    """Drives straight to the origin."""

    def __init__(self, world: PointWorld) -> None:
        self.world = world

    def reset(self) -> None:
        pass

    def act(self):
        return np.clip(-4 * self.world.at, -1, 1).astype(np.float32), 0


class PointEngine:
    """An engine that computes the expert's chunk from the state; counts its passes."""

    name = "point"

    def __init__(self, horizon: int = 8) -> None:
        chunk = TensorSpec((1, horizon, 2), "float32")
        self.inputs = {
            "image_eye": TensorSpec((1, 16, 16, 3), "uint8"),
            "state": TensorSpec((1, 2), "float32"),
            "plan": TensorSpec((1, 2), "float32"),
            "z": TensorSpec((1, 4), "float32"),
            "phase": TensorSpec((1, 3), "float32"),
            "candidate": chunk,
            "use_candidate": TensorSpec((1, 1), "float32"),
            "noise": chunk,
        }
        self.outputs = {"chunk": chunk, "scale": chunk, "perceived": TensorSpec((1, 2), "float32")}
        self.calls: list[dict[str, np.ndarray]] = []

    def run(self, arrays):
        self.calls.append({name: array.copy() for name, array in arrays.items()})
        at, rows = arrays["state"][0].astype(float), []
        for _ in range(self.outputs["chunk"].shape[1]):
            rows.append(np.clip(-4 * at, -1, 1))
            at = at + rows[-1] / SPEC.control_rate_hz
        chunk = np.array(rows, np.float32)[None]
        scale, perceived = np.full_like(chunk, 0.1), arrays["state"].copy()
        return {"chunk": chunk, "scale": scale, "perceived": perceived}
