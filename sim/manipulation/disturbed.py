"""A Meta-World task in which something goes wrong: "push+object_moved@0.8"."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np

from sim.manipulation.disturbances import DISTURBANCES, Disturbance, parse
from sim.manipulation.metaworld import MetaWorld
from sim.manipulation.tasks import TASKS
from sim.world import Frame

# Of MuJoCo's model: what a disturbance changes, and what `mj_setConst` derives from that.
_CONSTANTS = (
    *("body_mass", "body_inertia", "geom_friction"),
    *("body_subtreemass", "body_invweight0", "dof_M0", "dof_invweight0", "tendon_invweight0"),
    *("actuator_acc0", "cam_poscom0", "light_poscom0"),
)
_MEANS = ("meanmass", "meaninertia")  # of its statistics


class DisturbedWorld(gymnasium.Env[Frame, np.ndarray]):
    """Passes everything on to the task's world, but for what the disturbance does."""

    def __init__(self, name: str) -> None:
        task, self._kind, self._level = parse(name)
        self.inner = MetaWorld(task)
        self.world_spec, self.task = self.inner.world_spec, self.inner.task
        self.upstream = self.inner.upstream
        self.plan_hints = {t.instruction: t.name for t in TASKS.values()}
        self.action_space = self.inner.action_space
        self.observation_space = self.inner.observation_space
        model = self.upstream.model
        self._pristine = {field: getattr(model, field).copy() for field in _CONSTANTS}
        self._pristine_mean = {field: getattr(model.stat, field) for field in _MEANS}
        self._disturbance = Disturbance(0.0, np.random.default_rng(0))
        self._tick = 0
        self._images: dict[str, np.ndarray] = {}
        self._image_tick = -1

    @property
    def instruction(self) -> str:
        """What is asked for at this tick."""
        return self._disturbance.instruction(self._tick, self.inner.instruction)

    @property
    def expert_observation(self) -> np.ndarray:
        """What upstream's scripted policy reads."""
        return self.inner.expert_observation

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Frame, dict[str, Any]]:
        """Start the task's episode of `seed` and draw what will go wrong in it."""
        model = self.upstream.model
        for field, value in self._pristine.items():
            getattr(model, field)[:] = value
        for field, mean in self._pristine_mean.items():
            setattr(model.stat, field, mean)
        self.inner.rig.decor = ()
        _, info = self.inner.reset(seed=seed)
        draw = seed if seed is not None else int(self.inner.np_random.integers(2**31))
        kind = sorted(DISTURBANCES).index(self._kind)
        rng = np.random.default_rng((draw, kind))
        self._disturbance = DISTURBANCES[self._kind](self._level, rng)
        self._disturbance.begin(self.inner)
        self._tick, self._image_tick = 0, -1
        return self._seen(self.inner.look()), info

    def step(self, action: np.ndarray) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        """Apply one command (4,) as far as the disturbance lets it through."""
        self._disturbance.before(self._tick, self.inner)
        command = self._disturbance.command(self._tick, np.asarray(action, np.float32))
        frame, reward, terminated, truncated, info = self.inner.step(command)
        self._tick += 1
        return self._seen(frame), reward, terminated, truncated, info

    def _seen(self, frame: Frame) -> Frame:
        """The frame with the disturbed images; an image is disturbed once, when it is taken."""
        taken = self.inner.image_tick
        if taken != self._image_tick:
            self._images = self._disturbance.seen(taken, frame["images"])
            self._image_tick = taken
        return {**frame, "images": dict(self._images)}

    def save(self) -> Any:
        """Return the present state, that of the disturbance included."""
        mine = (self._disturbance, self._tick, self._images, self._image_tick)
        return self.inner.save(), copy.deepcopy(mine)

    def restore(self, saved: Any) -> None:
        """Be again as when `saved` was made, in the same episode."""
        inner, mine = saved
        self.inner.restore(inner)
        self._disturbance, self._tick, self._images, self._image_tick = copy.deepcopy(mine)

    def close(self) -> None:
        """Free the renderer."""
        self.inner.close()
