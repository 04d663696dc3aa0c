"""System 2's process: thinks about the newest request; answers are sent until acknowledged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from dualsys.bus import Publisher, RequestServer, ipc
from dualsys.clock import MonotonicClock
from dualsys.faults.answers import AnswerFaults
from dualsys.faults.fault import FaultClock, declared
from dualsys.messages import PlanRequest, Stamp, Thought
from dualsys.runtime import planners
from dualsys.runtime.health import Pulse
from dualsys.runtime.link import server_end
from dualsys.runtime.nodes.common import (
    ANY_SESSION,
    STOP,
    Run,
    first_sequence,
    heard,
    named,
    report,
    settle,
)
from dualsys.system2.planner import Planner


def run(run: Run, folder: Path, counts: dict[str, Any]) -> None:
    """Think about whatever is asked until told to stop."""
    clock = MonotonicClock()
    planner = planners.make_planner(run.config, run.spec, run.plans)
    if planner is None:
        return
    counts["engine"] = dict(planner.engine)
    planner.warm_up(run.config["system2"]["budget"])
    settle(run, "system2", counts)
    link, session = run.config["link"], run.session
    whose = None if session == ANY_SESSION else session
    with (
        RequestServer(*server_end(link, folder), whose, link["frames_per_s"]) as requests,
        Publisher(ipc(folder, "plan")) as plans,
        Publisher(ipc(folder, "health_system2")) as healths,
    ):
        links = (plans, run.recorders), (healths, run.recorders + run.watchers)
        while not STOP.is_set() and not heard(*links):
            STOP.wait(0.01)  # for the recorder, which misses nothing
        node = System2Node(planner, run.config["system2"]["budget"], requests, plans, counts)
        if declared(run.config):
            time = FaultClock(folder, clock)
            node.amiss = AnswerFaults(declared(run.config), "system2", run.spec), time
        pulse = Pulse("system2", session)
        request: PlanRequest | None = None
        while not STOP.is_set():
            if request is None:
                requests.poll(5)
                request = requests.update(clock.now_ns())
            node.catch_up()
            report(healths, pulse.beat(clock.now_ns(), node.counters()))
            if request is not None:
                start = clock.now_ns()
                request = node.think(request)
                pulse.measured("think", clock.now_ns() - start)


class System2Node:
    """The planner with its links and what it counts."""

    def __init__(
        self,
        planner: Planner,
        budget: str,
        requests: RequestServer,
        plans: Publisher,
        counts: dict[str, Any],
    ) -> None:
        self._planner, self._budget, self._clock = planner, budget, MonotonicClock()
        self._requests, self._plans, self._counts = requests, plans, counts
        self._session, self._sequence = ANY_SESSION, 0
        self.amiss: tuple[AnswerFaults, FaultClock] | None = None
        self._newer: PlanRequest | None = None  # than the one that is thought about
        counts.update(drops=requests.link.drops, faults=planner.faults, interrupted=0)

    def think(self, request: PlanRequest) -> PlanRequest | None:
        """Send every guidance of a thought; a newer request ends it and is returned."""
        start, self._newer, final = self._clock.now_ns(), None, False
        self._count_for(request.stamp)
        for guidance in self._planner.think(request, self._budget, self._overtaken):
            answers: list[Any] = [guidance]
            if self.amiss is not None:
                faults, time = self.amiss
                STOP.wait(faults.pause_s(time.since_s()))
                answers = faults.said(guidance, time.since_s())
            for answer in answers:
                self._say(answer, start, self._planner.thought)
            final = guidance.final
            if self._overtaken():
                break
        self._counts["interrupted"] += self._newer is not None and not final
        return self._newer

    def _count_for(self, asked: Stamp) -> None:
        """Begin to number what is said to a run, from its own clock on.

        This machine's may be another one's, that was started anew since System 2's earlier life.
        """
        if asked.session != self._session:
            self._session, self._sequence = asked.session, first_sequence(asked.time_ns)

    def counters(self) -> dict[str, int]:
        """What was dropped so far, by reason."""
        return named(server=self._requests.link.drops, planner=self._planner.faults)

    def catch_up(self) -> None:
        """Say what a fault has held back and is due."""
        if self.amiss is not None:
            faults, time = self.amiss
            for answer in faults.due(time.since_s()):
                self._say(answer, self._clock.now_ns(), None)

    def _say(self, guidance: Any, start_ns: int, thought: Thought | None) -> None:
        self._sequence += 1
        now = self._clock.now_ns()
        stamp = msgspec.structs.replace(guidance.stamp, sequence=self._sequence, time_ns=now)
        sent = msgspec.structs.replace(guidance, stamp=stamp, thinking_ns=now - start_ns)
        self._requests.answer(sent, now)
        if thought is not None:  # in the log a thought precedes its guidance
            self._plans.send(msgspec.structs.replace(thought, stamp=stamp))
        self._plans.send(sent)

    def _overtaken(self) -> bool:
        """Whether a newer request came: what it asks about is fresher than what is thought of."""
        newer = self._requests.update(self._clock.now_ns())
        self._newer = newer or self._newer
        return self._newer is not None
