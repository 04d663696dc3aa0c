"""Trigger rules behind one interface; time comes in as ticks."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Trigger(Protocol):
    """Decides, tick by tick, whether System 1 asks System 2."""

    def reset(self, epoch: int) -> None:
        """Start the episode `epoch`."""
        ...

    def decide(self, tick: int, uncertainty: float, guidance_age: int | None) -> str | None:
        """Return the reason to call now, or None. `guidance_age` [ticks] is None without any."""
        ...


class NeverTrigger:
    """System 1 alone."""

    def reset(self, epoch: int) -> None:
        """Nothing to forget."""

    def decide(self, tick: int, uncertainty: float, guidance_age: int | None) -> str | None:
        """Never call."""
        return None


class PeriodicTrigger:
    """Call every `period_ticks`, the first time at tick 0; period 1 is always."""

    def __init__(self, period_ticks: int) -> None:
        if period_ticks < 1:
            raise ValueError(f"trigger.period_ticks must be at least 1, it is {period_ticks}")
        self._period = period_ticks
        self._last: int | None = None

    def reset(self, epoch: int) -> None:
        """Call at the first tick again."""
        self._last = None

    def decide(self, tick: int, uncertainty: float, guidance_age: int | None) -> str | None:
        """Call when `period_ticks` have passed since the last call."""
        if self._last is not None and tick - self._last < self._period:
            return None
        self._last = tick
        return "periodic" if self._period > 1 else "always"


class RandomTrigger:
    """Call with probability `rate` per tick: the control that every other trigger must beat."""

    def __init__(self, rate: float, seed: int) -> None:
        if not 0.0 <= rate <= 1.0:
            raise ValueError(f"trigger.rate must be in [0, 1], it is {rate}")
        self._rate = rate
        self._seed = seed
        self._rng = np.random.default_rng((seed, 0))

    def reset(self, epoch: int) -> None:
        """Start the stream that belongs to the episode, whichever worker runs it."""
        self._rng = np.random.default_rng((self._seed, epoch))

    def decide(self, tick: int, uncertainty: float, guidance_age: int | None) -> str | None:
        """Call with the fixed probability."""
        return "random" if self._rng.random() < self._rate else None
