"""Lockstep: both systems in virtual time, one event queue, bit-reproducible.

A System-1 tick costs the ticks its latency model says; a System-2 answer arrives at the time its
thought began plus the model's latency. The world waits for nobody and nobody waits for the world:
what has not arrived by a tick is not there.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from dualsys.inbox import Inbox
from dualsys.messages import (
    Action,
    Guidance,
    Label,
    Message,
    Observation,
    PlanRequest,
    Stamp,
    Thought,
)
from dualsys.runtime.episode import EpisodeRecord
from dualsys.runtime.latency import LatencyModel
from dualsys.runtime.log import LogWriter, NoLog
from dualsys.runtime.observe import observation_of, outcome_of
from dualsys.runtime.peers import PeerPolicy
from dualsys.runtime.transit import Midway, Transit
from dualsys.shield.shield import Shield
from dualsys.system1.foreign import ForeignPolicy
from dualsys.system1.policy import Policy
from dualsys.system2.coding import name_of
from dualsys.system2.planner import Planner

if TYPE_CHECKING:
    from sim.world import Expert


class Advice(msgspec.Struct, frozen=True):
    """A guidance on its way, and what is behind it."""

    guidance: Guidance
    thought: Thought | None


AnyPolicy = Policy | ForeignPolicy | PeerPolicy
Event = Advice | PlanRequest  # what travels beside actions


class Onlooker(Protocol):
    """Sees the world itself, every tick before System 1 reacts; for evaluation only."""

    def look(
        self,
        observation: Observation,
        frame: Any,
        info: dict[str, Any],
        told: Guidance | None,
        midway: Midway,
    ) -> None:
        """Look; `told` is in force, `midway` is what is under way."""


class Lockstep:
    """Runs episodes of one world with one policy, one planner and one shield."""

    def __init__(
        self,
        world: Any,
        policy: AnyPolicy,
        planner: Planner | None,
        shield: Shield,
        latency: LatencyModel,
        session: int,
        budget: str = "short",
        expert: Expert | None = None,
        max_ticks: int = 0,
        onlooker: Onlooker | None = None,
    ) -> None:
        """`expert` labels every tick (it never drives); episodes end after `max_ticks`, if any.

        `onlooker` is the policy's trigger, if it is one that looks into the world.
        """
        self._world, self._policy, self._planner = world, policy, planner
        self._latency = latency
        self._session, self._budget = session, budget
        self._expert, self._max_ticks, self._onlooker = expert, max_ticks, onlooker
        self._period = world.world_spec.period_ns
        self._transit: Transit[Event] = Transit(shield, latency.system1_ticks, self._period)
        self.stage_ns: dict[str, list[int]] = defaultdict(list)
        self.drops: dict[str, int] = defaultdict(int)
        self.codes: Counter[str] = Counter()  # how often each plan and code was sent

    def run(self, epoch: int, seed: int, log: LogWriter | NoLog) -> EpisodeRecord:
        """Run the episode `epoch` with `seed`, writing every message to `log`."""
        self._start(epoch, seed, log)
        record = EpisodeRecord(seed, self._world.world_spec)
        frame, info = self._timed("world", self._world.reset, seed=seed)
        tick, done = 0, False
        while not done:
            observation = self._observe(tick, frame, info)
            self._deliver(tick * self._period)
            self._think_if_free(tick * self._period)
            self._deliver(tick * self._period)
            if self._onlooker is not None:
                midway = self._transit.midway(self._session, self._epoch)
                self._onlooker.look(observation, frame, info, self._policy.in_force(tick), midway)
            self._react(observation)
            self._deliver(tick * self._period)
            command = self._transit.command(self._stamp("command", tick), observation)
            self._write("command", command)
            self._label(tick)
            frame, reward, terminated, truncated, info = self._timed(
                "world", self._world.step, command.command
            )
            ended = terminated, truncated
            outcome = outcome_of(self._stamp("outcome", tick), reward, *ended, info)
            self._write("outcome", outcome)
            record.tick(command, outcome, self._guidance_age(tick))
            tick += 1
            done = terminated or truncated or record.solved or tick == self._max_ticks
        for reason, count in self._guidance.drops.items():
            self.drops[f"guidance_{reason}"] += count
        for reason, count in self._policy.refused.items():
            self.drops[f"not_used_{reason}"] = count
        if self._planner is not None:
            for reason, count in self._planner.faults.items():
                self.drops[f"planner_{reason}"] = count
        record.finish(self._policy.seam_jump, self._calls, self._passes, self._thinking_ns)
        return record

    def _start(self, epoch: int, seed: int, log: LogWriter | NoLog) -> None:
        self._epoch, self._log, self._calls, self._passes = epoch, log, 0, 0
        self.episode_codes: Counter[str] = Counter()  # as `codes`, of the present episode
        self._thinking_ns = 0  # of all thoughts; one that is cut short counts as far as it came
        self._sequence: dict[str, int] = defaultdict(int)
        self._waiting: tuple[int, PlanRequest] | None = None
        self._busy_until = 0
        self._answer_times: list[int] = []
        self._cut: dict[int, int] = {}  # request -> its answers after this time are not given
        self._guidance: Inbox[Guidance] = Inbox(self._session, epoch, self._policy.fault)
        # What is drawn at random belongs to the seed: whatever stands beside an episode in a run or
        # a benchmark, its calls and latencies are the same.
        self._policy.reset(seed)
        self._transit.reset()
        if self._expert is not None:
            self._expert.reset()
        self._latency.reset(seed)

    def _stamp(self, topic: str, tick: int, time_ns: int | None = None) -> Stamp:
        self._sequence[topic] += 1
        now = tick * self._period if time_ns is None else time_ns
        return Stamp(self._session, self._epoch, self._sequence[topic], tick, now)

    def _write(self, topic: str, message: Message) -> None:
        self._log.write(topic, message)

    def _timed(self, stage: str, call: Any, *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter_ns()
        result = call(*args, **kwargs)
        self.stage_ns[stage].append(time.perf_counter_ns() - start)
        return result

    def _observe(self, tick: int, frame: Any, info: dict[str, Any]) -> Observation:
        stamp = self._stamp("observation", tick)
        observation = observation_of(self._world, frame, info, stamp)
        self._write("observation", observation)
        return observation

    def _react(self, observation: Observation) -> None:
        tick = observation.stamp.tick
        now = tick * self._period
        answer = self._timed("system1", self._policy.act, observation, self._guidance.newest, now)
        if answer.provenance.replanned:
            self._passes += 1
            self.stage_ns["system1_pass"].append(self.stage_ns["system1"][-1])
        self._transit.send(answer.action, self._stamp("action", tick))
        if answer.request is not None and self._planner is not None:
            self._calls += 1
            arrival = self._transit.arrival_ns(tick)
            stamp = self._stamp("plan_request", tick, arrival)
            self._transit.push(arrival, msgspec.structs.replace(answer.request, stamp=stamp))

    def _label(self, tick: int) -> None:
        if self._expert is None:
            return
        newest = self._guidance.newest
        told, then = (newest.plan, newest.stamp.tick) if newest is not None else (-1, tick)
        command, _ = self._expert.act(told, tick - then)
        self._write("label", Label(self._stamp("label", tick), command))

    def _deliver(self, now: int) -> None:
        for arrival, message in self._transit.due(now):
            if isinstance(message, Action):
                self._write("action", message)
            elif isinstance(message, Advice):
                self._advise(arrival, message.guidance, message.thought)
            else:
                self._write("plan_request", message)
                if self._waiting is not None:
                    self.drops["superseded"] += 1  # only the newest request is worth a thought
                self._waiting = (arrival, message)
                self._interrupt(arrival)
                self._think_if_free(now)

    def _advise(self, arrival: int, guidance: Guidance, thought: Thought | None) -> None:
        if arrival > self._cut.get(guidance.request_id, arrival):
            self.drops["interrupted"] += 1
            return
        if thought is not None:
            self._write("thought", msgspec.structs.replace(thought, stamp=guidance.stamp))
        self._write("guidance", guidance)
        name = name_of(guidance.plan, guidance.z)
        self.codes[name] += 1
        self.episode_codes[name] += 1
        self._guidance.offer(guidance, arrival)

    def _interrupt(self, arrival: int) -> None:
        """A newer request ends the present thought at its next answer."""
        left = [time_ns for time_ns in self._answer_times if time_ns >= arrival]
        if len(left) > 1:
            self._thinking_ns -= self._busy_until - left[0]
            self._busy_until = left[0]
            self._cut[self._thinking_about] = left[0]
            self._answer_times = left[:1]

    def _think_if_free(self, now: int) -> None:
        if self._waiting is None or self._planner is None:
            return
        arrived, request = self._waiting
        begin = max(arrived, self._busy_until)
        if begin > now:
            return
        self._waiting = None
        answers = self._timed("system2", lambda: list(self._think(request)))
        # A thought that comes to nothing takes its time, too.
        times = self._latency.answers_ns(max(1, len(answers)))
        self._thinking_about = request.request_id
        self._answer_times = [begin + time_ns for time_ns in times]
        self._busy_until = self._answer_times[-1]
        self._thinking_ns += times[-1]
        for (answer, thought), part in zip(answers, times, strict=False):
            stamp = self._stamp("guidance", request.stamp.tick, begin + part)
            told = msgspec.structs.replace(answer, stamp=stamp, thinking_ns=part)
            self._transit.push(begin + part, Advice(told, thought))

    def _think(self, request: PlanRequest) -> Iterator[tuple[Guidance, Thought | None]]:
        assert self._planner is not None
        for guidance in self._planner.think(request, self._budget):
            yield guidance, self._planner.thought

    def _guidance_age(self, tick: int) -> int:
        newest = self._guidance.newest
        return tick - newest.stamp.tick if newest is not None else -1
