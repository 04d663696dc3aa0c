"""A policy of somebody else's code in System 1's place: same guidance, triggers and shield.

What it answers is checked in every tick; what it is told, and when System 2 is asked, is decided
as for the shipped network.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, Protocol

import msgspec
import numpy as np

from dualsys.blank import blank_observation
from dualsys.conformity import check_observation, guidance_fault
from dualsys.errors import DualsysError, SpecMismatchError
from dualsys.messages import Action, Guidance, Observation, PlanRequest, Stamp
from dualsys.spec import WorldSpec
from dualsys.system1.chunk import RunningChunk
from dualsys.system1.counsel import Counsel
from dualsys.system1.tick import Tick
from dualsys.system1.timing import PolicyConfig
from dualsys.trigger.acceptance import Acceptance
from dualsys.trigger.rules import Trigger
from dualsys.trigger.situation import Situation

REMEDY = "see docs/bring_your_own_policy.md; check_policy tries a policy alone"


class OwnPolicy(Protocol):
    """What a policy of your own has to have. Made once, with (WorldSpec, checkpoint or None).

    It may have `reports_uncertainty = True`: then its ticks carry a number that rises with doubt,
    and `trigger=uncertainty` may ask by it.
    """

    def reset(self, epoch: int) -> None:
        """Start the episode `epoch`; what is drawn at random belongs to it."""
        ...

    def act(self, observation: Observation, guidance: Guidance | None, now_ns: int) -> Tick:
        """Answer one tick. `guidance` is what is in force, None without any."""
        ...


def reports_uncertainty(own: Any) -> bool:
    """Whether a policy says how unsure it is."""
    return bool(getattr(own, "reports_uncertainty", False))


class ForeignPolicy:
    """Somebody's own policy behind the interface of `Policy`."""

    def __init__(
        self,
        spec: WorldSpec,
        own: Any,
        name: str,
        trigger: Trigger,
        config: PolicyConfig,
        acceptance: Acceptance = Acceptance(),  # noqa: B008  frozen
    ) -> None:
        """Raises `DualsysError` for an object that is no policy."""
        require_policy(own, name)
        self._spec, self._own, self._name = spec, own, name
        self._least = config.commit_ticks + 1  # rows that an answer needs to be of any use
        self._counsel = Counsel(trigger, acceptance, config.max_guidance_age_ticks, config.budget)
        self._chunk = RunningChunk(0, spec.action_high - spec.action_low)
        self.reset(0)

    def reset(self, epoch: int) -> None:
        """Start the episode `epoch`."""
        self._chunk.reset()
        self._counsel.reset(epoch)
        self._own.reset(epoch)
        self._seen_ns, self._chunk_tick = 0, -1
        self.situation = Situation()

    @property
    def refused(self) -> Counter[str]:
        """Guidance that was not used, by reason."""
        return self._counsel.refused

    @property
    def seam_jump(self) -> float:
        """Mean jump between the commands of one answer and those of the next."""
        return self._chunk.seam_jump

    def fault(self, guidance: Guidance) -> str | None:
        """Why guidance is to be dropped; a code of any length may be of use."""
        return guidance_fault(guidance, self._spec, guidance.z.size)

    def in_force(self, tick: int) -> Guidance | None:
        """The guidance that was last accepted, while it has not expired at `tick`."""
        return self._counsel.in_force(tick)

    def warm_up(self, passes: int = 10) -> None:
        """Answer pictures of nothing, so that the first tick is not the slowest one."""
        for number in range(passes):
            seen = blank_observation(self._spec, number)
            self._require(self._own.act(seen, None, 0), seen)
        self._own.reset(0)

    def act(self, observation: Observation, guidance: Guidance | None, now_ns: int) -> Tick:
        """Answer one tick.

        Raises `SpecMismatchError` for an observation that does not fit the world, and for an
        answer that does not.
        """
        check_observation(observation, self._spec)
        tick, self._seen_ns = observation.stamp.tick, observation.stamp.time_ns
        told = self._counsel.take(guidance, tick)
        answer = self._own.act(observation, told, now_ns)
        self._require(answer, observation)
        self._chunk.splice(answer.action.commands, tick, tick)
        self._chunk_tick = answer.provenance.chunk_tick
        request = self._request(answer, observation, told, now_ns)
        action = msgspec.structs.replace(
            answer.action,
            stamp=msgspec.structs.replace(observation.stamp, time_ns=now_ns),
            commands=self._chunk.ahead(tick),
            observation_ns=observation.stamp.time_ns,
            uncertainty=float(answer.action.uncertainty),  # numpy's numbers do not travel
            waiting_ticks=self._counsel.waiting(tick),
        )
        return Tick(action, answer.uncertainty, request, answer.provenance)

    def coast(self, stamp: Stamp, now_ns: int) -> Action:
        """Answer a tick whose observation is worth nothing: with the rest of the last answer."""
        told = self.in_force(stamp.tick)
        return Action(
            stamp=msgspec.structs.replace(stamp, time_ns=now_ns),
            first_tick=stamp.tick,
            commands=self._chunk.ahead(stamp.tick).reshape(-1, len(self._spec.action)),
            observation_ns=self._seen_ns,
            uncertainty=math.nan,
            chunk_tick=self._chunk_tick,
            guidance_sequence=told.stamp.sequence if told else -1,
            guidance_age_ticks=stamp.tick - told.stamp.tick if told else -1,
            compute_ns=0,
            waiting_ticks=self._counsel.waiting(stamp.tick),
        )

    def _require(self, answer: Any, observation: Observation) -> None:
        fault = tick_fault(answer, observation, self._spec, self._least)
        if fault is not None:
            raise SpecMismatchError(f"the policy {self._name} {fault}; {REMEDY}")

    def _request(
        self, answer: Tick, observation: Observation, told: Guidance | None, now_ns: int
    ) -> PlanRequest | None:
        tick, unsure = observation.stamp.tick, float(answer.action.uncertainty)
        self.situation = Situation(unsure, tick - told.stamp.tick if told else None)
        asked = answer.request
        reason = self._counsel.decide(tick, self.situation) if asked is None else asked.reason
        if reason is None:
            return None
        samples = self._chunk.ahead(tick)[None] if asked is None else asked.samples
        return self._counsel.request(observation, samples, reason, unsure, now_ns)


def require_policy(own: Any, name: str) -> None:
    """Raise `DualsysError` for an object without the methods of a policy."""
    missing = [method for method in ("reset", "act") if not callable(getattr(own, method, None))]
    if missing:
        raise DualsysError(
            f"the policy {name} is a {type(own).__name__} without {' and '.join(missing)}(); a "
            f"policy has reset(epoch) and act(observation, guidance, now_ns) -> Tick; {REMEDY}"
        )


def tick_fault(
    answer: Any, observation: Observation, spec: WorldSpec, least: int = 1
) -> str | None:
    """What is wrong with an answer, in words that name both sides; None if nothing is.

    It has to reach over `least` ticks: on the wall clock it acts in the tick after its observation.
    Numbers that are not finite are the shield's affair: it falls back and counts them.
    """
    tick, axes = observation.stamp.tick, [f"{axis.name} [{axis.unit}]" for axis in spec.action]
    if not isinstance(answer, Tick) or not isinstance(answer.action, Action):
        kind = type(answer).__name__
        return f"answered tick {tick} with {kind}, a Tick was expected (Tick.of_commands makes one)"
    action = answer.action
    commands = action.commands
    if not isinstance(commands, np.ndarray) or commands.ndim != 2:
        shape = getattr(commands, "shape", type(commands).__name__)
        return f"answered tick {tick} with commands {shape}, expected (T, {len(axes)})"
    if commands.shape[1] != len(axes):
        return (
            f"commands {commands.shape[1]} axes in tick {tick}, the world has {len(axes)}: "
            f"{', '.join(axes)}"
        )
    if len(commands) < least:
        return (
            f"answered tick {tick} with commands for {len(commands)} tick(s), and they act after "
            f"{least - 1}: give commands for {least} ticks or more"
        )
    if action.first_tick != tick:
        return f"answered tick {tick} with commands from tick {action.first_tick} on"
    return None
