"""What System 1 has been told by System 2, what it is still owed, and when it asks. Pure."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np

from dualsys.messages import Guidance, Observation, PlanRequest
from dualsys.trigger.acceptance import Acceptance
from dualsys.trigger.rules import Trigger
from dualsys.trigger.situation import Situation


class Counsel:
    """The guidance in force and the requests of one control loop; `reset` starts an episode."""

    def __init__(
        self, trigger: Trigger, acceptance: Acceptance, max_age_ticks: int, budget: str
    ) -> None:
        """Older guidance than `max_age_ticks` has expired; `budget` is that of the thoughts."""
        self.trigger, self._acceptance = trigger, acceptance
        self._max_age_ticks, self._budget = max_age_ticks, budget
        self.refused: Counter[str] = Counter()  # guidance that was not used, by reason
        self.reset(0)

    def reset(self, epoch: int) -> None:
        """Start the episode `epoch`: nothing was told, nothing asked."""
        self.trigger.reset(epoch)
        self._requests = 0
        self._newest: Guidance | None = None
        self._accepted: Guidance | None = None
        self._asked_tick: int | None = None  # the first request since the last answer

    def resume(self, guidance: Guidance | None, asked_tick: int | None) -> None:
        """Go on in the middle of an episode, with what was in force and what was owed."""
        self._newest = self._accepted = guidance
        self._asked_tick = asked_tick

    def take(self, guidance: Guidance | None, tick: int) -> Guidance | None:
        """The newest guidance that was accepted when it came, while it has not expired."""
        if guidance is not self._newest:
            self._newest, self._asked_tick = guidance, None
            self._admit(guidance, tick)
        return self.in_force(tick)

    def in_force(self, tick: int) -> Guidance | None:
        """The guidance that was last accepted, while it has not expired at `tick`."""
        known = self._accepted
        if known is None or tick - known.stamp.tick > self._max_age_ticks:
            return None
        return known

    def waiting(self, tick: int) -> int:
        """Ticks since guidance was first asked for and none has come; -1: none is owed."""
        return -1 if self._asked_tick is None else tick - self._asked_tick

    def decide(self, tick: int, seen: Situation) -> str | None:
        """The reason to ask now, or None."""
        return self.trigger.decide(tick, seen)

    def request(
        self,
        observation: Observation,
        samples: np.ndarray,
        reason: str,
        uncertainty: float,
        now_ns: int,
    ) -> PlanRequest:
        """A request about an observation; samples (K, T, A) are what System 1 is about to do."""
        tick = observation.stamp.tick
        # Of two lives of System 1 in one episode the later one's numbers are higher.
        self._requests = self._requests + 1 if self._requests else tick + 1
        if self._asked_tick is None:
            self._asked_tick = tick
        stamp = msgspec.structs.replace(observation.stamp, sequence=self._requests, time_ns=now_ns)
        return PlanRequest(
            stamp, self._requests, observation, samples, reason, uncertainty, self._budget
        )

    def _admit(self, guidance: Guidance | None, tick: int) -> None:
        if guidance is None:
            self._accepted = None
            return
        refusal = self._acceptance.refusal(tick - guidance.stamp.tick, guidance.value)
        if refusal is None:
            self._accepted = guidance
        else:
            self.refused[refusal] += 1
