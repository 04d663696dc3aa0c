"""System 1's decision: observation and newest guidance in, commands for this tick and the next out.

Pure: no socket, thread or clock. The network runs every `replan_ticks`; between two passes the
running chunk answers, so every tick has an answer.
"""

from __future__ import annotations

import math
from collections import Counter

import msgspec
import numpy as np

from dualsys.conformity import check_observation, guidance_fault
from dualsys.errors import SpecMismatchError
from dualsys.messages import Action, Guidance, Observation, PlanRequest, Stamp
from dualsys.spec import WorldSpec
from dualsys.system1.chunk import RunningChunk
from dualsys.system1.counsel import Counsel
from dualsys.system1.tick import Provenance, Tick
from dualsys.system1.timing import PolicyConfig
from dualsys.system1.uncertainty import Uncertainty
from dualsys.trigger.acceptance import Acceptance
from dualsys.trigger.rules import Trigger
from dualsys.trigger.situation import Situation, features
from kernels.engine import Engine, TimedEngine


class Policy:
    """Sans-IO System 1. One instance serves one control loop; `reset` starts an episode."""

    def __init__(
        self,
        spec: WorldSpec,
        engine: Engine,
        trigger: Trigger,
        config: PolicyConfig,
        acceptance: Acceptance = Acceptance(),  # noqa: B008  frozen
    ) -> None:
        self._spec, self._engine, self._config = spec, engine, config
        self._counsel = Counsel(trigger, acceptance, config.max_guidance_age_ticks, config.budget)
        self._timed = engine if isinstance(engine, TimedEngine) else None
        self._chunk = RunningChunk(config.blend_ticks, spec.action_high - spec.action_low)
        self._horizon, self._width = engine.inputs["candidate"].shape[1:]
        if self._width != len(spec.action):
            raise SpecMismatchError(
                f"the engine commands {self._width} axes, the world has {len(spec.action)} "
                f"({[a.name for a in spec.action]}); use a checkpoint of this world"
            )
        self._low, self._high = spec.action_low, spec.action_high
        self.reset(0)

    def reset(self, epoch: int) -> None:
        """Start the episode `epoch`: forget the running chunk and the trigger's history."""
        self._chunk.reset()
        self._counsel.reset(epoch)
        self._seen_ns = 0  # when the last observation was made that was answered
        self._chunk_tick = -1
        self._uncertainty = Uncertainty()
        self._perceived = np.zeros(0, np.float32)
        self._samples = np.zeros((0, self._horizon, self._width), np.float32)
        self._used: Guidance | None = None
        self.situation = Situation()  # what the trigger saw in the last tick

    def resume(self, action: Action, guidance: Guidance | None) -> None:
        """Go on in the middle of an episode, after its last `action`.

        `guidance` is what that action used, None without any. How unsure System 1 is, is not known
        before its next pass.
        """
        self.reset(action.stamp.epoch)
        self._chunk.splice(action.commands, action.first_tick, action.first_tick)
        self._chunk_tick = action.chunk_tick
        self._used = guidance
        owed = action.waiting_ticks >= 0
        self._counsel.resume(guidance, action.stamp.tick - action.waiting_ticks if owed else None)

    @property
    def refused(self) -> Counter[str]:
        """Guidance that was not used, by reason."""
        return self._counsel.refused

    @property
    def seam_jump(self) -> float:
        """Mean command jump at the chunk seams of this episode, before blending."""
        return self._chunk.seam_jump

    def fault(self, guidance: Guidance) -> str | None:
        """Why this policy can not use `guidance` (what its inbox is to drop); None if it can."""
        return guidance_fault(guidance, self._spec, self._engine.inputs["z"].shape[1])

    def warm_up(self, passes: int = 10) -> None:
        """Run the engine on zeros so that the first tick is not the slowest one."""
        zeros = {n: np.zeros(s.shape, s.dtype) for n, s in self._engine.inputs.items()}
        for _ in range(passes):
            self._engine.run(zeros)

    def act(self, observation: Observation, guidance: Guidance | None, now_ns: int) -> Tick:
        """Answer one tick. `guidance` is the newest that arrived, of any age; None without one.

        Raises `SpecMismatchError` for an observation that does not fit the world's
        specification and for one that is not finite.
        """
        check_observation(observation, self._spec)
        tick, self._seen_ns = observation.stamp.tick, observation.stamp.time_ns
        guidance = self._counsel.take(guidance, tick)
        due = tick - self._chunk_tick >= self._config.replan_ticks
        news = guidance is not None and guidance is not self._used
        replan = self._chunk.at(tick) is None or due or news
        if replan:
            self._replan(observation, guidance, now_ns)
        request = self._request(observation, guidance, now_ns)
        age = tick - guidance.stamp.tick if guidance else -1
        sequence = guidance.stamp.sequence if guidance else -1
        action = Action(
            stamp=msgspec.structs.replace(observation.stamp, time_ns=now_ns),
            first_tick=tick,
            commands=self._chunk.ahead(tick),
            observation_ns=observation.stamp.time_ns,
            uncertainty=self._uncertainty.total,
            spread=self._uncertainty.spread,
            chunk_tick=self._chunk_tick,
            guidance_sequence=sequence,
            guidance_age_ticks=age,
            compute_ns=0,
            waiting_ticks=self._counsel.waiting(tick),
        )
        provenance = Provenance(self._chunk_tick, sequence, age, replan)
        return Tick(action, self._uncertainty, request, provenance)

    def coast(self, stamp: Stamp, now_ns: int) -> Action:
        """Answer a tick whose observation is worth nothing: with the rest of the running chunk.

        It goes out under the time of the last observation that was answered, so that the shield
        lets it pass as long as that is not too old.
        """
        rest = self._chunk.ahead(stamp.tick).reshape(-1, self._width)
        accepted = self.in_force(stamp.tick)
        return Action(
            stamp=msgspec.structs.replace(stamp, time_ns=now_ns),
            first_tick=stamp.tick,
            commands=rest,
            observation_ns=self._seen_ns,
            uncertainty=math.nan,
            chunk_tick=self._chunk_tick,
            guidance_sequence=accepted.stamp.sequence if accepted else -1,
            guidance_age_ticks=stamp.tick - accepted.stamp.tick if accepted else -1,
            compute_ns=0,
            waiting_ticks=self._counsel.waiting(stamp.tick),
        )

    def in_force(self, tick: int) -> Guidance | None:
        """The guidance that was last accepted, while it has not expired at `tick`."""
        return self._counsel.in_force(tick)

    def _replan(self, observation: Observation, guidance: Guidance | None, now_ns: int) -> None:
        tick = observation.stamp.tick
        slice_ = self._slice(guidance, tick)
        inputs = self._inputs(observation, guidance, slice_)
        if self._timed is None:
            outputs = self._engine.run(inputs)
        else:
            left = observation.stamp.time_ns + self._spec.period_ns - now_ns
            outputs = self._timed.run_within(inputs, left)
        carried = slice_ if slice_ is not None and not self._config.cascade else None
        chunk = np.clip(outputs["chunk"][0] if carried is None else carried, self._low, self._high)
        self._perceived = outputs["perceived"][0]
        self._uncertainty = Uncertainty.of(outputs, self._config.spread_weight)
        self._samples = outputs["samples"][1:].copy() if "samples" in outputs else self._samples
        kept = self._committed(tick)
        if len(kept):
            chunk[: len(kept)] = kept
        self._chunk.splice(chunk, tick, tick + len(kept))
        self._chunk_tick, self._used = tick, guidance

    def _committed(self, tick: int) -> np.ndarray:
        """Commands (K, A) of the running chunk that are carried out before a new one can be."""
        known = self._engine.inputs.get("committed")
        most = 0 if known is None else min(self._config.commit_ticks, known.shape[1])
        return self._chunk.ahead(tick)[:most]

    def _slice(self, guidance: Guidance | None, tick: int) -> np.ndarray | None:
        """What is left of the candidate at `tick`, if it reaches over the horizon."""
        if guidance is None:
            return None
        age = tick - guidance.stamp.tick
        slice_ = guidance.candidate[age : age + self._horizon]
        return slice_ if len(slice_) == self._horizon else None

    def _inputs(
        self, observation: Observation, guidance: Guidance | None, slice_: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        inputs = self._engine.inputs
        arrays = {n: np.zeros(s.shape, s.dtype) for n, s in inputs.items() if n[:6] != "image_"}
        for name, image in observation.images.items():
            arrays[f"image_{name}"] = image[None]
        arrays["state"][0] = observation.state
        arrays["noise"][:] = _noise(observation.stamp, inputs["noise"].shape)
        arrays["noise"][0] *= self._config.noise_scale
        if "committed" in arrays:
            told = self._committed(observation.stamp.tick)[: self._config.told_ticks]
            if len(told):
                arrays["committed"][0, : len(told)] = told
                arrays["committed_ticks"][:] = len(told)
        if guidance is not None:
            age = observation.stamp.tick - guidance.stamp.tick
            arrays["plan"][0, guidance.plan] = 1.0
            arrays["z"][0, : len(guidance.z)] = guidance.z
            age_s = min(age / self._spec.control_rate_hz, self._config.phase_limit_s)
            arrays["phase"][0, 0] = age_s
            if slice_ is not None and self._config.cascade:
                arrays["candidate"][0] = slice_
                arrays["use_candidate"][:] = 1.0
                arrays["phase"][0, 1:] = (age_s, 1.0)
        return arrays

    def _situation(
        self, observation: Observation, guidance: Guidance | None, age: int | None
    ) -> Situation:
        unsure = self._uncertainty
        if math.isnan(unsure.total):
            return Situation(guidance_age=age)
        plan = guidance.plan if guidance is not None else None
        seen = (observation.state, self._perceived)
        known = features(self._spec, unsure.entropy, unsure.spread, plan, age, *seen)
        return Situation(unsure.total, age, known)

    def _request(
        self, observation: Observation, guidance: Guidance | None, now_ns: int
    ) -> PlanRequest | None:
        tick = observation.stamp.tick
        age = tick - guidance.stamp.tick if guidance else None
        self.situation = self._situation(observation, guidance, age)
        reason = self._counsel.decide(tick, self.situation)
        if reason is None:
            return None
        samples, unsure = self.sampled(tick), self._uncertainty.total
        return self._counsel.request(observation, samples, reason, unsure, now_ns)

    def sampled(self, tick: int) -> np.ndarray:
        """Chunks (K, T, A) from `tick` on: the running one, and the others of the last pass."""
        running, since = self._chunk.ahead(tick), tick - self._chunk_tick
        others = np.clip(self._samples[:, since : since + len(running)], self._low, self._high)
        return np.concatenate([running[None], others])


def _noise(stamp: Stamp, shape: tuple[int, ...]) -> np.ndarray:
    # A function of episode and tick: a replay draws what the run drew, and runs that differ in
    # another setting draw the same, so that they are compared with nothing else changed.
    return np.random.default_rng((stamp.epoch, stamp.tick)).standard_normal(shape, np.float32)
