"""Meta-World tasks as `World`s: upstream's physics, reward, success; our cameras."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np

from dualsys.errors import UnknownNameError
from dualsys.limits import AxisLimit, PlantLimits
from dualsys.spec import AxisSpec, WorldSpec
from sim.manipulation.cameras import CameraPose, CameraRig
from sim.manipulation.tasks import PLANS, TASKS
from sim.world import Frame, frame_space

CAMERA_PERIOD_TICKS = 4  # 20 Hz cameras under 80 Hz control, as on a real arm
POSES = (
    CameraPose("front", 64, CAMERA_PERIOD_TICKS, (0.0, 0.68, 0.1), 1.0, 140, -45),
    CameraPose("side", 64, CAMERA_PERIOD_TICKS, (0.0, 0.66, 0.15), 0.95, 180, -10),
)
SCENE_ROWS = ("hand", "object", "second_object", "goal")
SCENE_FIELDS = ("present", "x_m", "y_m", "z_m", "qw", "qx", "qy", "qz")
CONTROL_RATE_HZ = 80.0
_CM_PER_TICK = 100 / CONTROL_RATE_HZ  # what one m/s is in the unit of a command


def _hand(axis: str, low: float, high: float) -> AxisLimit:
    """A direction of the hand: 13 m/s2 and 6500 m/s3, as a Franka arm bears in its workspace."""
    return AxisLimit(
        rate=13.0 * _CM_PER_TICK,
        rate_change=6500.0 * _CM_PER_TICK,
        reduced_low=-0.5,
        reduced_high=0.5,
        moves=axis,
        gain=0.01,
        low=low,
        high=high,
    )


# The workspace is that of upstream's mocap body, with the slack that the hand has against it.
LIMITS = PlantLimits(
    axes=(
        _hand("hand_x", -0.55, 0.55),
        _hand("hand_y", 0.35, 1.05),
        _hand("hand_z", 0.0, 0.55),
        AxisLimit(rate=40.0),
    )
)
SPEC = WorldSpec(
    domain="manipulation",
    cameras=tuple(pose.spec for pose in POSES),
    state=(
        AxisSpec("hand_x", "m", -1.0, 1.0),
        AxisSpec("hand_y", "m", 0.0, 1.5),
        AxisSpec("hand_z", "m", -0.1, 1.0),
        AxisSpec("gripper_opening", "1", 0.0, 1.0),
    ),
    action=(
        # Meta-World moves its mocap target by at most 1 cm per tick and axis.
        AxisSpec("hand_dx", "cm", -1.0, 1.0),
        AxisSpec("hand_dy", "cm", -1.0, 1.0),
        AxisSpec("hand_dz", "cm", -1.0, 1.0),
        AxisSpec("gripper_effort", "1", -1.0, 1.0),
    ),
    control_rate_hz=CONTROL_RATE_HZ,
    plans=PLANS,
    scene_fields=SCENE_FIELDS,
    scene_rows=len(SCENE_ROWS),
    fallback=(0.0, 0.0, 0.0, None),  # hold: stand still, keep the last grip
    motion="displacement",
    limits=LIMITS,
)


# Upstream's attributes that no step changes, or that can not be copied.
_NOT_STATE = ("model", "data", "mujoco_renderer", "observation_space", "action_space", "goal_space")


class MetaWorld(gymnasium.Env[Frame, np.ndarray]):
    """One Meta-World v3 task with two 20 Hz cameras and four numbers of proprioception.

    The goal and the object poses are drawn by upstream from `seed` at every reset. Success is
    upstream's flag of the tick; an episode lasts upstream's 500 ticks.
    """

    world_spec = SPEC

    def __init__(self, name: str) -> None:
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE

        if name not in TASKS:
            raise UnknownNameError("manipulation task", name, TASKS)
        self.task = TASKS[name]
        self.instruction = self.task.instruction
        self.plan_hints = {self.instruction: name}
        upstream: Any = ALL_V3_ENVIRONMENTS_GOAL_OBSERVABLE[f"{self.task.upstream}-goal-observable"]
        self.upstream = upstream(seed=0)
        # Otherwise upstream places goal and objects at every reset as it just did, whatever the
        # seed.
        self.upstream._freeze_rand_vec, self.upstream.seeded_rand_vec = False, True
        self.rig = CameraRig(self.upstream.model, POSES)
        self.expert_observation = np.zeros(39)
        self._tick = 0
        self._images: dict[str, np.ndarray] = {}
        self.image_tick = 0
        self.action_space = gymnasium.spaces.Box(SPEC.action_low, SPEC.action_high)
        self.observation_space: gymnasium.Space[Any] = frame_space(SPEC)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Frame, dict[str, Any]]:
        """Start an episode; equal seeds give equal episodes, whatever ran before."""
        super().reset(seed=seed)
        draw = seed if seed is not None else int(self.np_random.integers(2**31))
        self.upstream.seed(draw)
        self.expert_observation, _ = self.upstream.reset()
        self._tick = 0
        return self._frame(), self._info(False)

    def step(self, action: np.ndarray) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        """Apply one command (4,) and return upstream's reward, flags and success."""
        self.expert_observation, reward, terminated, truncated, info = self.upstream.step(
            np.asarray(action, np.float32)
        )
        self._tick += 1
        success = bool(info["success"])
        return self._frame(), float(reward), terminated, truncated, self._info(success)

    def look(self) -> Frame:
        """Take new images of the present state, due or not."""
        self._images, self.image_tick = self.rig.render(self.upstream.data), self._tick
        return self._frame()

    def scene_points(self) -> list[np.ndarray]:
        """Where hand, objects and goal are [m], (3,) each."""
        scene = self._scene()
        return [row[1:4] for row in scene if row[0] > 0]

    def save(self) -> Any:
        """Return the present state: the simulator's data and upstream's own notes."""
        data = self.upstream.data
        notes = {k: v for k, v in vars(self.upstream).items() if k not in _NOT_STATE}
        mine = (self.expert_observation, self._tick, self._images, self.image_tick)
        return copy.copy(data), copy.deepcopy((notes, mine)), _views(notes, data)

    def restore(self, saved: Any) -> None:
        """Be again as when `saved` was made, in the same episode."""
        data, rest, views = saved
        data, (notes, mine) = copy.copy(data), copy.deepcopy(rest)
        notes |= {name: data.xpos.reshape(-1)[part] for name, part in views.items()}
        vars(self.upstream).update(notes, data=data)
        self.expert_observation, self._tick, self._images, self.image_tick = mine

    def close(self) -> None:
        """Free the renderer."""
        self.rig.close()

    def _frame(self) -> Frame:
        if self._tick % CAMERA_PERIOD_TICKS == 0:
            self._images = self.rig.render(self.upstream.data)
            self.image_tick = self._tick
        state = self.expert_observation[:4].astype(np.float32)
        return {"images": dict(self._images), "state": state, "scene": self._scene()}

    def _scene(self) -> np.ndarray:
        observed = self.expert_observation
        rows = np.zeros((len(SCENE_ROWS), len(SCENE_FIELDS)), np.float32)
        rows[0, :4] = (1.0, *observed[:3])
        rows[1] = (1.0, *observed[4:11])
        rows[2] = (float(np.any(observed[11:14])), *observed[11:18])
        rows[3, :4] = (1.0, *self.upstream._target_pos)
        return rows

    def _info(self, success: bool) -> dict[str, Any]:
        ticks = {camera.name: self.image_tick for camera in SPEC.cameras}
        return {"success": success, "collision": None, "image_ticks": ticks, "metrics": {}}


def _views(notes: dict[str, Any], data: Any) -> dict[str, slice]:
    """Notes that are no copies: what upstream keeps of a body's position moves with the body."""
    begin, found = data.xpos.__array_interface__["data"][0], {}
    for name, value in notes.items():
        if isinstance(value, np.ndarray) and np.shares_memory(value, data.xpos):
            first = (value.__array_interface__["data"][0] - begin) // value.itemsize
            found[name] = slice(first, first + value.size)
    return found
