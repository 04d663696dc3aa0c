"""Trigger rules behind one interface; time comes in as ticks."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from dualsys.errors import DualsysError
from dualsys.trigger.gate import Gate
from dualsys.trigger.situation import Situation


class Trigger(Protocol):
    """Decides, tick by tick, whether System 1 asks System 2."""

    def reset(self, epoch: int) -> None:
        """Start the episode `epoch`."""
        ...

    def decide(self, tick: int, seen: Situation) -> str | None:
        """Return the reason to call now, or None."""
        ...


class NeverTrigger:
    """System 1 alone."""

    def reset(self, epoch: int) -> None:
        """Nothing to forget."""

    def decide(self, tick: int, seen: Situation) -> str | None:
        """Never call."""
        return None


class PeriodicTrigger:
    """Call every `period_ticks`, the first time at tick 0; period 1 is always."""

    def __init__(self, period_ticks: int) -> None:
        if period_ticks < 1:
            raise DualsysError(f"trigger.period_ticks must be at least 1, it is {period_ticks}")
        self._period = period_ticks
        self._last: int | None = None

    def reset(self, epoch: int) -> None:
        """Call at the first tick again."""
        self._last = None

    def decide(self, tick: int, seen: Situation) -> str | None:
        """Call when `period_ticks` have passed since the last call."""
        if self._last is not None and tick - self._last < self._period:
            return None
        self._last = tick
        return "periodic" if self._period > 1 else "always"


class RandomTrigger:
    """Call at random, `rate` times per tick: the control that every other trigger must beat.

    Two calls are at least `refractory_ticks` apart, as those of the gates are: calls in clumps
    supersede one another. An episode begins as if calls had gone on before it, so that every tick
    of it is as likely to be one with a call.
    """

    # A gate that calls whenever it may is measured at one call per refractory time and one call
    # more per episode, as the first tick is free: nearly twice as often where episodes end soon
    # after one refractory time. So much is met by calling whenever it may, too.
    EDGE = 2.0

    def __init__(self, rate: float, refractory_ticks: int, seed: int) -> None:
        if refractory_ticks < 1:
            raise DualsysError(
                f"trigger.refractory_s must be at least one tick, it is {refractory_ticks} ticks"
            )
        if not 0.0 <= rate <= self.EDGE / refractory_ticks or rate > 1.0:
            raise DualsysError(
                f"trigger.rate must be between 0 and {1 / refractory_ticks:.4g} calls per tick, as "
                f"calls are trigger.refractory_s apart ({refractory_ticks} ticks), it is {rate}; "
                "lower one of them"
            )
        whenever_free = rate * refractory_ticks > 1 + 1e-9
        # Share of ticks on which no call may come, and the chance of one on the others.
        self._barred = 0.0 if whenever_free else rate * (refractory_ticks - 1)
        self._chance = 1.0 if whenever_free else min(rate / (1 - self._barred), 1.0)
        self._rate, self._refractory, self._seed = rate, refractory_ticks, seed
        self.reset(0)

    def reset(self, epoch: int) -> None:
        """Start the stream that belongs to the episode, whichever worker runs it."""
        self._rng = np.random.default_rng((self._seed, epoch))
        drawn = self._rng.random()
        self._free_at = 1 + int(drawn / self._rate) if drawn < self._barred else 0

    def decide(self, tick: int, seen: Situation) -> str | None:
        """Call with a fixed chance on every tick that may have a call."""
        if tick < self._free_at or self._rng.random() >= self._chance:
            return None
        self._free_at = tick + self._refractory
        return "random"


class UncertaintyTrigger:
    """Call while System 1 is unsure, or its guidance has grown too old.

    Unsure from `threshold` [nat] on, sure again below `threshold - hysteresis`; two calls are at
    least `refractory_ticks` apart. Guidance older than `max_age_ticks` (or none at all) is a
    reason of its own; None switches that off. (The gate of FASIONAD++ is not published; this
    one is our own.)
    """

    def __init__(
        self,
        threshold: float | None,
        hysteresis: float,
        refractory_ticks: int,
        max_age_ticks: int | None,
    ) -> None:
        if threshold is None:
            raise DualsysError(
                "trigger=uncertainty needs trigger.threshold=NUMBER [nat], a quantile of the "
                "checkpoint's uncertainty, or trigger.calibration=FILE of `dualsys calibrate`"
            )
        if not np.isfinite(threshold) or hysteresis < 0:
            raise DualsysError(
                "trigger.threshold must be a number and trigger.hysteresis zero or more, they are "
                f"{threshold} and {hysteresis}"
            )
        if refractory_ticks < 1 or (max_age_ticks is not None and max_age_ticks < 1):
            raise DualsysError(
                "trigger.refractory_s and trigger.max_age_s must be at least one tick, they are "
                f"{refractory_ticks} and {max_age_ticks} ticks"
            )
        self._enter, self._leave = threshold, threshold - hysteresis
        self._refractory, self._max_age = refractory_ticks, max_age_ticks
        self.reset(0)

    def reset(self, epoch: int) -> None:
        """Sure of itself, and free to call."""
        self._unsure = False
        self._last: int | None = None

    def decide(self, tick: int, seen: Situation) -> str | None:
        """Call when unsure or badly informed, not too soon after the last call."""
        self._unsure = seen.uncertainty >= (self._leave if self._unsure else self._enter)
        if self._last is not None and tick - self._last < self._refractory:
            return None
        reason = "uncertain" if self._unsure else self._aged(seen.guidance_age)
        if reason is not None:
            self._last = tick
        return reason

    def _aged(self, guidance_age: int | None) -> str | None:
        if self._max_age is None or (guidance_age is not None and guidance_age <= self._max_age):
            return None
        return "no guidance" if guidance_age is None else "aged guidance"


class LearnedTrigger:
    """Call when the predicted gain exceeds the price of a call; calls are a refractory time apart.

    The price is in units of the score that the gate learned from; raising it trades success for
    thinking time.
    """

    def __init__(self, gate: Gate, price: float, refractory_ticks: int) -> None:
        if not np.isfinite(price):
            raise DualsysError(f"trigger.price must be a number, it is {price}")
        if refractory_ticks < 1:
            raise DualsysError(
                f"trigger.refractory_s must be at least one tick, it is {refractory_ticks} ticks"
            )
        self._gate, self._price, self._refractory = gate, price, refractory_ticks
        self.reset(0)

    def reset(self, epoch: int) -> None:
        """Free to call."""
        self._last: int | None = None

    def decide(self, tick: int, seen: Situation) -> str | None:
        """Call when it is worth its price."""
        if not len(seen.features):
            return None
        if self._last is not None and tick - self._last < self._refractory:
            return None
        if self._gate.gain(seen.features) <= self._price:
            return None
        self._last = tick
        return "worth it"
