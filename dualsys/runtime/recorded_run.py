"""What the log of a realtime run says: episodes, ages, how long each answer and tick took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from dualsys.messages import Action, Command, Guidance, Health, Outcome, PlanRequest
from dualsys.runtime.episode import EpisodeRecord
from dualsys.spec import WorldSpec
from dualsys.system2.coding import name_of

Place = tuple[int, int]


class RecordedRun:
    """The messages of a run, in the log's order, put together.

    act_ns: time [ns] inside `Policy.act` of each tick; pass_ns: of those in which the network ran.
    codes: how often each plan and code was sent.
    """

    def __init__(self, seeds: list[int], spec: WorldSpec) -> None:
        self._seeds, self._spec = seeds, spec
        self.records: dict[int, EpisodeRecord] = {}
        self.act_ns: list[int] = []
        self.pass_ns: list[int] = []
        self.codes: Counter[str] = Counter()
        self._passes: Counter[int] = Counter()
        self._calls: Counter[int] = Counter()
        self._commands: dict[Place, Command] = {}
        self._ages: dict[Place, int] = {}
        self._asked: dict[Place, int] = {}
        self._told: list[Guidance] = []
        self._spoke_ns = self._last_ns = -1
        self._ready_ns: int | None = None

    def read(self, messages: Iterable[Any], seams: Mapping[str, float]) -> RecordedRun:
        """Take them all and close every episode; `seams` is System 1's, by epoch."""
        for message in messages:
            self._take(message)
        thinking: Counter[int] = Counter()
        for (epoch, _), times in self._latencies().items():
            thinking[epoch] += times[-1]
        for epoch, record in self.records.items():
            seam = seams.get(str(epoch), 0.0)
            record.finish(seam, self._calls[epoch], self._passes[epoch], thinking[epoch])
        return self

    @property
    def guidance_ages(self) -> list[int]:
        """Age [ticks] of the guidance in force, tick by tick."""
        return [age for record in self.records.values() for age in record.plan_age_ticks]

    @property
    def observation_ages_ns(self) -> list[int]:
        """From the observation to the command that came of it [ns], tick by tick."""
        return [age for record in self.records.values() for age in record.observation_age_ns]

    @property
    def silence_s(self) -> float | None:
        """From System 2's last answer to the last command; None if it never spoke."""
        return max(0, self._last_ns - self._spoke_ns) / 1e9 if self._spoke_ns >= 0 else None

    @property
    def answer_times_ns(self) -> list[list[int]]:
        """Of each thought, the times [ns] from the request to its answers."""
        return list(self._latencies().values())

    def _take(self, message: Any) -> None:
        stamp = message.stamp
        if isinstance(message, Command):
            self._commands[stamp.epoch, stamp.tick] = message
            self._last_ns = stamp.time_ns
        elif isinstance(message, Action):
            self._acted(message)
        elif isinstance(message, PlanRequest):
            self._asked[stamp.epoch, message.request_id] = stamp.time_ns
            self._calls[stamp.epoch] += 1
        elif isinstance(message, Guidance):
            self._told.append(message)
            self._spoke_ns = stamp.time_ns
            self.codes[name_of(message.plan, message.z)] += 1
        elif isinstance(message, Health) and message.process == "system2":
            self._ready_ns = stamp.time_ns if self._ready_ns is None else self._ready_ns
        elif isinstance(message, Outcome):
            self._came_of(message)

    def _acted(self, action: Action) -> None:
        stamp = action.stamp
        self._ages[stamp.epoch, stamp.tick] = action.guidance_age_ticks
        self.act_ns.append(action.compute_ns)
        if action.chunk_tick == stamp.tick:
            self.pass_ns.append(action.compute_ns)
            self._passes[stamp.epoch] += 1

    def _came_of(self, outcome: Outcome) -> None:
        epoch, tick = outcome.stamp.epoch, outcome.stamp.tick
        command = self._commands.get((epoch, tick))
        if command is None:
            return
        if epoch not in self.records:
            self.records[epoch] = EpisodeRecord(self._seeds[epoch], self._spec)
        self.records[epoch].tick(command, outcome, self._ages.get((epoch, tick - 1), -1))

    def _latencies(self) -> dict[Place, list[int]]:
        """Times [ns] from each request (epoch, identifier) to its answers.

        Left out: what was asked before System 2's first sign of life, for it was still loading its
        model, and that wait is no latency of a thought.
        """
        latencies: dict[Place, list[int]] = {}
        for guidance in self._told:
            request = (guidance.stamp.epoch, guidance.request_id)
            since = self._asked.get(request)  # None: the log has lost it
            ready = self._ready_ns
            if since is not None and ready is not None and since >= ready:
                latencies.setdefault(request, []).append(guidance.stamp.time_ns - since)
        return latencies
