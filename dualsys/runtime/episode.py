"""What one episode came to: the row of `results.json` and the samples behind its percentiles."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from dualsys.messages import Command, Outcome
from dualsys.spec import WorldSpec


class EpisodeRecord:
    """Fed tick by tick; `row` is the episode's entry in the results.

    Success: manipulation, upstream's flag was set at some tick (the episode then ends, `solved`);
    driving, the flag the world sets at the end (no collision, still on the road, arrived where
    upstream knows an arrival). Return: the sum of upstream's rewards up to the end.
    """

    def __init__(self, seed: int, spec: WorldSpec) -> None:
        self._seed, self._spec = seed, spec
        self._commands: list[np.ndarray] = []
        self.plan_age_ticks: list[int] = []
        self.observation_age_ns: list[int] = []
        self._return = 0.0
        self._fallbacks = self._interventions = 0
        self._rungs: Counter[str] = Counter()
        self._success = self._completed = False
        self._collision: bool | None = None  # in a world that measures none
        self._metrics: dict[str, list[float]] = {}
        self.row: dict[str, Any] = {}

    @property
    def solved(self) -> bool:
        """True once nothing more can change the success of the episode."""
        return self._success and self._spec.domain == "manipulation"

    def tick(self, command: Command, outcome: Outcome, guidance_age_ticks: int) -> None:
        """Take one tick: what was commanded, what came of it, how old the plan was (-1: none)."""
        self._commands.append(command.command)
        self._return += outcome.reward
        self._success = outcome.success or (self._success and self._spec.domain == "manipulation")
        self._completed = outcome.terminated or outcome.truncated or self.solved
        if "collision" in outcome.metrics:
            self._collision = bool(self._collision) or outcome.metrics["collision"] > 0
        self._fallbacks += command.source == "fallback"
        self._interventions += bool(command.interventions)
        self._rungs[command.rung] += 1
        if guidance_age_ticks >= 0:
            self.plan_age_ticks.append(guidance_age_ticks)
        if command.observation_age_ns >= 0:
            self.observation_age_ns.append(command.observation_age_ns)
        for name, value in outcome.metrics.items():
            self._metrics.setdefault(name, []).append(value)

    def finish(self, seam_jump: float, calls: int, passes: int, thinking_ns: int) -> None:
        """Close the episode and fill `row`."""
        ages = self.plan_age_ticks
        period_s = self._spec.period_ns / 1e9
        self.row = {
            "seed": self._seed,
            "completed": self._completed,  # false: the run's duration_s cut it off
            "success": self._success,
            "collision": self._collision,
            "return": self._return,
            "steps": len(self._commands),
            "duration_s": len(self._commands) * period_s,
            "thinking_s": thinking_ns / 1e9,
            "calls": calls,
            "passes": passes,
            "fallback_ticks": self._fallbacks,
            "interventions": self._interventions,
            "rungs": dict(self._rungs),  # ticks on each rung of the staleness ladder
            "plan_age_s": float(np.mean(ages)) * period_s if ages else None,
            "jerk": mean_jerk(self._commands, self._spec),
            "seam_jump": seam_jump,
            "metrics": {name: float(np.mean(values)) for name, values in self._metrics.items()},
            "drive": self._drive(),
        }

    def _drive(self) -> dict[str, float]:
        """The closed-loop score of a drive; nothing in other worlds."""
        if self._spec.domain != "driving":
            return {}
        from sim.driving.score import closed_loop_score

        ticks = {name: np.array(values) for name, values in self._metrics.items()}
        return closed_loop_score(ticks, self._spec.control_rate_hz)


def mean_jerk(commands: list[np.ndarray], spec: WorldSpec) -> float:
    """Mean absolute second difference of the command, as a fraction of each axis' range."""
    if len(commands) < 3:
        return 0.0
    span = spec.action_high - spec.action_low
    return float(np.mean(np.abs(np.diff(np.stack(commands) / span, n=2, axis=0))))
