"""The only component that can command the plant: limits every command, or falls back.

Lives on the plant's side, so that a dead or silent System 1 still ends in a safe command. Pure:
ticks, nanoseconds and what was seen come in as arguments.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np

from dualsys.errors import DualsysError
from dualsys.messages import Action, Command, Observation, Stamp
from dualsys.shield.estimate import Estimate
from dualsys.shield.ladder import Ladder, Leave
from dualsys.shield.stages import Motion, stages
from dualsys.spec import WorldSpec

HARDLY = 1e-6  # what differs by no more than this, in units of the command, is no intervention


class ShieldConfig(msgspec.Struct, frozen=True):
    """How old an observation may be behind a command, and which limits are in force: all of them.

    The box of the command can not be switched off.
    """

    max_observation_age_s: float = 0.5
    rate: bool = True
    workspace: bool = True
    lateral: bool = True
    rss: bool = True

    def check(self) -> None:
        """Raise `DualsysError` for an age that is no positive number."""
        if not 0 < self.max_observation_age_s < math.inf:
            raise DualsysError(
                "shield.max_observation_age_s must be a positive number of seconds, it is "
                f"{self.max_observation_age_s}"
            )

    @property
    def off(self) -> tuple[str, ...]:
        """The limits that are switched off."""
        return tuple(name for name in self.__struct_fields__ if getattr(self, name) is False)


class Shield:
    """Turns the newest `Action` into the `Command` of a tick."""

    def __init__(self, spec: WorldSpec, config: ShieldConfig, ladder: Ladder) -> None:
        config.check()
        self._spec, self.ladder = spec, ladder
        self._longest_ns = config.max_observation_age_s * 1e9
        self._fallback = np.array([np.nan if v is None else v for v in spec.fallback])
        self._fallback_steps = _fallback_steps(spec, config.rate)
        self._stages = stages(spec, config.off)
        self._estimate = Estimate(spec, self._longest_ns)
        self.counts: Counter[str] = Counter()
        ladder.meet("limits")
        self.reset()

    def reset(self, last: Sequence[np.ndarray] = ()) -> None:
        """Start an episode: no action in force, the last command is the middle of the limits.

        `last` are the commands (A,) of the last ticks, oldest first, where one is gone on with.
        """
        self._action: Action | None = None
        middle = np.zeros(len(self._spec.action)).clip(
            self._spec.action_low, self._spec.action_high
        )
        done = [*last[-2:]] or [middle]
        self._before, self._last = (command.astype(np.float64) for command in (done[0], done[-1]))
        self._estimate.reset()
        self.ladder.reset()

    def offer(self, action: Action) -> None:
        """Take the newest action of System 1."""
        self._action = action

    def command(self, stamp: Stamp, seen: Observation) -> Command:
        """Return the command for `stamp.tick`; it is always finite and inside the limits.

        `seen` is what the plant's sensors say of now, right or wrong.
        """
        disbelief = self._estimate.see(seen.state, stamp.time_ns)
        reasons = [] if disbelief is None else [disbelief]
        given = self._given(stamp)
        leave = self._leave(stamp, not isinstance(given, str))
        if leave == "fallback" and not isinstance(given, str):
            given = self.ladder.rung
        if isinstance(given, str):
            reasons.append(given)
        wanted = self._falling_back() if isinstance(given, str) else given
        reduced = leave == "reduced"
        motion = Motion(self._last, self._before, self._estimate.state, seen.scene, reduced)
        limited = self._limited(wanted.astype(np.float64), motion, reasons)
        self.counts.update(reasons)
        self._before, self._last = self._last, limited.astype(np.float64)
        self._estimate.carry(self._last)
        action = self._action
        return Command(
            stamp,
            limited,
            "fallback" if isinstance(given, str) else "system1",
            tuple(reasons),
            action.stamp.sequence if action is not None else -1,
            stamp.time_ns - action.observation_ns if action is not None else -1,
            wanted.astype(np.float32),
            self.ladder.rung,
        )

    def stop(self, stamp: Stamp, reason: str) -> Command:
        """The fallback itself, at once: for a plant whose driver failed, or whose run is over."""
        self._action = None
        command = self.fallback
        return Command(stamp, command, "fallback", (reason,), -1, -1, command, "stopped")

    @property
    def fallback(self) -> np.ndarray:
        """What the fallback leads to from the last command on, float32 (A,)."""
        goal = np.where(np.isnan(self._fallback), self._last, self._fallback)
        return goal.astype(np.float32).clip(self._spec.action_low, self._spec.action_high)

    def withdraw(self) -> None:
        """Take no action of System 1 for one any more: the fallback comes, as gently as it may."""
        self._action = None

    def _leave(self, stamp: Stamp, answers: bool) -> Leave:
        """What the ladder lets System 1 do."""
        action, rate = self._action, self._spec.control_rate_hz
        ages: list[float | None] = [None, None]
        if action is not None:
            ticks = action.guidance_age_ticks, action.waiting_ticks
            ages = [None if age < 0 else age / rate for age in ticks]
        return self.ladder.step(stamp.time_ns, answers, *ages)

    def _given(self, stamp: Stamp) -> np.ndarray | str:
        """System 1's command (A,) of this tick, or why it can not be carried out."""
        action, seen_ns = self._action, self._estimate.seen_ns
        if action is None:
            return "no_action"
        age_ns = stamp.time_ns - action.observation_ns
        if age_ns < 0:
            return "future_action"
        if age_ns > self._longest_ns:
            return "stale_action"
        if seen_ns is None or stamp.time_ns - seen_ns > self._longest_ns:
            return "blind"
        row = stamp.tick - action.first_tick
        if action.commands.shape[1:] != self._last.shape:
            return "wrong_shape"
        if not 0 <= row < len(action.commands):
            return "chunk_exhausted"
        given: np.ndarray = action.commands[row]
        return given if np.isfinite(given).all() else "not_finite"

    def _falling_back(self) -> np.ndarray:
        """One step from the last command towards the fallback, at its own rate."""
        goal = np.where(np.isnan(self._fallback), self._last, self._fallback)
        return goal.clip(self._last - self._fallback_steps, self._last + self._fallback_steps)

    def _limited(self, wanted: np.ndarray, motion: Motion, reasons: list[str]) -> np.ndarray:
        """`wanted` after every limit in turn, float32 (A,); adds those that changed it."""
        for reason, stage in self._stages:
            limited = stage(wanted, motion)
            if np.abs(limited - wanted).max() > HARDLY:
                reasons.append(reason)
            wanted = limited
        # The last stage is the box, whose ends are float32: rounding leads over no edge.
        return wanted.astype(np.float32)


def _fallback_steps(spec: WorldSpec, gently: bool) -> np.ndarray:
    """By how much each axis goes towards the fallback in a tick, float64 (A,)."""
    if spec.limits is None or not gently:
        return np.full(len(spec.action), math.inf)
    rates = [axis.fallback_rate for axis in spec.limits.axes]
    return np.array([math.inf if rate is None else rate / spec.control_rate_hz for rate in rates])
