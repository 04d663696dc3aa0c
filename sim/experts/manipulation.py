"""Meta-World's scripted policies as demonstrators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sim.manipulation.metaworld import MetaWorld


class ManipulationExpert:
    """Upstream's scripted policy of the world's task; reads the simulator, not the camera."""

    def __init__(self, world: MetaWorld, rng: np.random.Generator | None = None) -> None:
        from metaworld.policies import ENV_POLICY_MAP

        self._world = world
        policies: Any = ENV_POLICY_MAP
        self._make = policies[world.task.upstream]
        self._policy = self._make()
        self._plan = world.world_spec.plans.index(world.task.name)

    def reset(self) -> None:
        """Forget the last episode."""
        self._policy = self._make()

    def act(self, told: int = -1, age_ticks: int = 0) -> tuple[np.ndarray, int]:
        """Return the clean command float32 (4,) for the present state and the plan index."""
        action = self._policy.get_action(self._world.expert_observation)
        action = np.clip(
            action, self._world.world_spec.action_low, self._world.world_spec.action_high
        )
        return action.astype(np.float32), self._plan
