"""What goes wrong around a manipulation task, each kind as one small class; upstream is left alone.

A disturbance is drawn from the episode's seed and scaled by a level from 0 to 1. Hooks: `begin` at
reset, `command` on the way to the plant, `before` each step, `seen` on the images, `instruction`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dualsys.errors import DualsysError, UnknownNameError
from sim.manipulation.cameras import Decor
from sim.manipulation.tasks import TASKS

ALL_TASKS = tuple(TASKS)
LOOSE = ("push", "pick-place", "peg-insert-side")  # tasks with an object that lies loose
SIBLINGS = {"drawer-open": "drawer-close", "window-open": "window-close"}
SIBLINGS |= {b: a for a, b in SIBLINGS.items()}


class Disturbance:
    """One kind of trouble in one episode. The base class disturbs nothing."""

    tasks: tuple[str, ...] = ALL_TASKS

    def __init__(self, level: float, rng: np.random.Generator) -> None:
        self.level, self.rng = level, rng

    def begin(self, world: Any) -> None:
        """At reset, after upstream's own."""

    def command(self, tick: int, action: np.ndarray) -> np.ndarray:
        """What reaches the plant of a command (4,)."""
        return action

    def before(self, tick: int, world: Any) -> None:
        """Before the step of a tick."""

    def seen(self, tick: int, images: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What becomes of new images."""
        return images

    def instruction(self, tick: int, said: str) -> str:
        """What the world asks for at a tick."""
        return said


class ObjectMoved(Disturbance):
    """Somebody moves the loose object by 2 to 8 cm, once, while the arm is on its way."""

    tasks = LOOSE

    def __init__(self, level: float, rng: np.random.Generator) -> None:
        super().__init__(level, rng)
        self._when = int(rng.integers(10, 50))
        angle = rng.uniform(0, 2 * np.pi)
        self._by = (0.02 + 0.06 * level) * np.array([np.cos(angle), np.sin(angle), 0.0])

    def before(self, tick: int, world: Any) -> None:
        """Move it, within the part of the table that the arm can reach."""
        if tick != self._when:
            return
        upstream = world.upstream
        place = np.array(upstream.data.qpos.flat[9:12])
        moved = np.clip(place + self._by, [-0.2, 0.45, place[2]], [0.2, 0.75, place[2]])
        upstream._set_obj_xyz(moved)


class GripperSlip(Disturbance):
    """The gripper loses its grip for a moment, some time after it first closed."""

    tasks = LOOSE

    def __init__(self, level: float, rng: np.random.Generator) -> None:
        super().__init__(level, rng)
        self._after, self._long = int(rng.integers(10, 40)), 5 + round(25 * level)
        self._closed_at: int | None = None

    def command(self, tick: int, action: np.ndarray) -> np.ndarray:
        """Open it for a while, whatever is commanded."""
        if self._closed_at is None and action[3] > 0.3:
            self._closed_at = tick
        if self._closed_at is None:
            return action
        since = tick - self._closed_at - self._after
        return np.append(action[:3], -1.0) if 0 <= since < self._long else action


class CameraOccluded(Disturbance):
    """Something grey stands before each camera for a quarter of a second to a second and a half."""

    def __init__(self, level: float, rng: np.random.Generator) -> None:
        super().__init__(level, rng)
        self._from = int(rng.integers(0, 60))
        self._to = self._from + 20 + round(100 * level)
        self._corner = rng.uniform(0, 1, 2)

    def seen(self, tick: int, images: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Cover a square of each image."""
        if not self._from <= tick < self._to:
            return images
        covered = {}
        for name, image in images.items():
            size = image.shape[0]
            side = round((0.3 + 0.5 * self.level) * size)
            top, left = (int(c * (size - side)) for c in self._corner)
            covered[name] = image.copy()
            covered[name][top : top + side, left : left + side] = 90
        return covered


class ShiftedPhysics(Disturbance):
    """Things are up to three times as heavy, and friction falls to as little as four tenths."""

    def begin(self, world: Any) -> None:
        """Change what is not the robot; upstream's values are put back at the next reset.

        Friction falls everywhere, on the fingers too: MuJoCo takes the greater of the two that
        touch, so a thing alone would slip no more between pads of rubber than before.
        """
        import mujoco

        model = world.upstream.model
        heavier, slick = 1 + 2 * self.level, 1 - 0.6 * self.level
        for body in range(model.nbody):
            if not _is_robot(model, body):
                model.body_mass[body] *= heavier
                model.body_inertia[body] *= heavier
        model.geom_friction[:] *= slick
        # What the solver derives from the masses follows (in data of its own, the episode's stays);
        # the extent, which the cameras' clipping planes hang on, does not.
        extent, centre = model.stat.extent, model.stat.center.copy()
        mujoco.mj_setConst(model, mujoco.MjData(model))
        model.stat.extent, model.stat.center = extent, centre


class Distractors(Disturbance):
    """One to five coloured things that nobody asked for stand on the table: seen, not touched."""

    def begin(self, world: Any) -> None:
        """Draw them away from what the task is about."""
        rng = self.rng
        found: list[Decor] = []
        scene = world.scene_points()
        while len(found) < 1 + round(4 * self.level):
            place = np.array([rng.uniform(-0.35, 0.35), rng.uniform(0.4, 0.9), 0.02])
            if all(np.linalg.norm(place[:2] - point[:2]) > 0.08 for point in scene):
                size = tuple(rng.uniform(0.012, 0.028, 3))
                colour = (*rng.uniform(0.1, 1.0, 3), 1.0)
                found.append(Decor(rng.random() < 0.5, tuple(place), size, colour))
        world.rig.decor = tuple(found)


class InstructionChanged(Disturbance):
    """At first the opposite is asked for; after a quarter of a second to a second, the task."""

    tasks = tuple(SIBLINGS)

    def begin(self, world: Any) -> None:
        """Know what the opposite is called."""
        self._opposite = TASKS[SIBLINGS[world.task.name]].instruction

    def instruction(self, tick: int, said: str) -> str:
        """The opposite first."""
        return self._opposite if tick < 20 + round(60 * self.level) else said


def _is_robot(model: Any, body: int) -> bool:
    """Whether a body hangs on the arm's base or on the hand."""
    while body > 0:
        name = model.body(body).name
        if name.startswith(("base", "right_", "hand", "mocap", "pedestal", "torso", "head")):
            return True
        body = int(model.body_parentid[body])
    return False


DISTURBANCES: dict[str, type[Disturbance]] = {
    "object_moved": ObjectMoved,
    "gripper_slip": GripperSlip,
    "camera_occluded": CameraOccluded,
    "shifted_physics": ShiftedPhysics,
    "distractors": Distractors,
    "instruction_changed": InstructionChanged,
}
"""Name, as in "manipulation/push+object_moved@0.8", -> kind."""

DEFAULT_LEVEL = 0.5


def parse(name: str) -> tuple[str, str, float]:
    """Task, disturbance and level of "task+disturbance@level" (without a level: 0.5).

    Raises `UnknownNameError` or `DualsysError` for a name that is none, and for a disturbance that
    its task does not know.
    """
    task, _, rest = name.partition("+")
    kind, at, told = rest.partition("@")
    if task not in TASKS:
        raise UnknownNameError("manipulation task", task, TASKS)
    if kind not in DISTURBANCES:
        raise UnknownNameError("disturbance", kind, DISTURBANCES)
    if task not in DISTURBANCES[kind].tasks:
        raise DualsysError(
            f"{kind} is no disturbance of {task}, but of {', '.join(DISTURBANCES[kind].tasks)}"
        )
    try:
        level = float(told) if at else DEFAULT_LEVEL
    except ValueError:
        level = -1.0
    if not 0 <= level <= 1:
        raise DualsysError(
            f"manipulation/{name}: a level is a number from 0 to 1, as in push+object_moved@0.8"
        )
    return task, kind, level


def disturbed_tasks() -> list[tuple[str, str]]:
    """Every (task, disturbance) that go together."""
    return [(task, name) for name, kind in DISTURBANCES.items() for task in kind.tasks]
