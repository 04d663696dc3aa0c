"""The only component that can command the plant: checks every command, or falls back.

Lives on the plant's side, so that a dead or silent System 1 still ends in a safe command. Pure:
ticks and nanoseconds come in as arguments.
"""

from __future__ import annotations

import msgspec
import numpy as np

from dualsys.messages import Action, Command, Stamp
from dualsys.spec import WorldSpec


class ShieldConfig(msgspec.Struct, frozen=True):
    """How old an observation may be behind a command before the shield takes over."""

    max_observation_age_s: float = 0.5


class Shield:
    """Turns the newest `Action` into the `Command` of a tick."""

    def __init__(self, spec: WorldSpec, config: ShieldConfig) -> None:
        self._spec, self._config = spec, config
        self._low, self._high = spec.action_low, spec.action_high
        self._fallback = np.array([np.nan if v is None else v for v in spec.fallback], np.float32)
        self.counts: dict[str, int] = {}
        self.reset()

    def reset(self, last: np.ndarray | None = None) -> None:
        """Start an episode: no action in force, the last command is the middle of the limits.

        `last` (A,) is the last command where one is gone on with.
        """
        self._action: Action | None = None
        self._last = np.clip(np.zeros_like(self._low), self._low, self._high)
        if last is not None:
            self._last = last

    def offer(self, action: Action) -> None:
        """Take the newest action of System 1."""
        self._action = action

    def command(self, stamp: Stamp) -> Command:
        """Return the command for `stamp.tick`; it is always finite and inside the limits."""
        action = self._action
        reasons: list[str] = []
        wanted = self._wanted(stamp, reasons)
        source = "system1" if wanted is not None else "fallback"
        if wanted is None:
            wanted = np.where(np.isnan(self._fallback), self._last, self._fallback)
        limited = np.clip(wanted, self._low, self._high).astype(np.float32)
        if not np.array_equal(limited, wanted):
            reasons.append("position_limit")
        for reason in reasons:
            self.counts[reason] = self.counts.get(reason, 0) + 1
        self._last = limited
        age = stamp.time_ns - action.observation_ns if action is not None else -1
        sequence = action.stamp.sequence if action is not None else -1
        return Command(stamp, limited, source, tuple(reasons), sequence, age)

    def _wanted(self, stamp: Stamp, reasons: list[str]) -> np.ndarray | None:
        action = self._action
        if action is None:
            reasons.append("no_action")
            return None
        if stamp.time_ns - action.observation_ns > self._config.max_observation_age_s * 1e9:
            reasons.append("stale_action")
            return None
        row = stamp.tick - action.first_tick
        if not 0 <= row < len(action.commands):
            reasons.append("chunk_exhausted")
            return None
        wanted: np.ndarray = action.commands[row]
        if wanted.shape != self._low.shape:
            reasons.append("wrong_shape")
            return None
        if not np.isfinite(wanted).all():
            reasons.append("not_finite")
            return None
        return wanted
