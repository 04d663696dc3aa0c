"""System 1's process: answers every observation; asks System 2 and never waits for it."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from dualsys.bus import Publisher, RequestClient, Subscriber, ipc
from dualsys.clock import MonotonicClock
from dualsys.faults.answers import AnswerFaults
from dualsys.faults.fault import FaultClock, declared
from dualsys.faults.frames import FrameFaults
from dualsys.inbox import Inbox
from dualsys.messages import Action, Guidance, Hello, Observation, Stamp
from dualsys.runtime.drivers import make_system1
from dualsys.runtime.health import Pulse
from dualsys.runtime.link import client_end
from dualsys.runtime.nodes.common import (
    STOP,
    Run,
    first_sequence,
    heard,
    named,
    report,
    settle,
)
from dualsys.runtime.nodes.elsewhere import Elsewhere
from dualsys.runtime.served import is_served
from dualsys.system1.foreign import ForeignPolicy
from dualsys.system1.policy import Policy
from dualsys.system1.senses import Senses


def run(run: Run, folder: Path, counts: dict[str, Any]) -> None:
    """Answer until told to stop."""
    policy, counts["engine"] = make_system1(run.config, run.spec, build=False)
    policy.warm_up(30)
    settle(run, "system1", counts)
    faults, time = declared(run.config), FaultClock(folder, MonotonicClock())
    ways = [FrameFaults(faults, "link", time.since_s).passed for _ in range(2)]
    with (
        Subscriber(ipc(folder, "observation")) as observations,
        Publisher(ipc(folder, "action")) as actions,
        RequestClient(*client_end(run.config["link"], folder), *ways) as requests,
        Publisher(ipc(folder, "plan_request")) as asked,
        Publisher(ipc(folder, "health_system1")) as healths,
        ExitStack() as parts,
    ):
        node = System1Node(run, policy, actions, requests, asked, healths, counts)
        if is_served(run.config):
            node.elsewhere = parts.enter_context(Elsewhere(run, requests, folder, counts))
        if faults:
            node.amiss = AnswerFaults(faults, "system1", run.spec), time
        counts["observation_drops"] = observations.drops
        while not STOP.is_set():
            if not node.greeted or not observations.poll(5 if node.engaged else 20):
                node.idle()
                STOP.wait(0 if node.greeted else 0.005)
                continue
            observation = observations.newest()
            if isinstance(observation, Observation):
                node.answer(observation)


class System1Node:
    """The policy with its inbox, its links and what it counts."""

    def __init__(
        self,
        run: Run,
        policy: Policy | ForeignPolicy,
        actions: Publisher,
        requests: RequestClient,
        asked: Publisher,
        healths: Publisher,
        counts: dict[str, Any],
    ) -> None:
        self._run, self._policy, self._clock = run, policy, MonotonicClock()
        self._actions, self._requests, self._healths = actions, requests, healths
        self._asked = asked  # what was asked, for the log: also what is never thought about
        self._inbox: Inbox[Guidance] = Inbox(run.session, 0, policy.fault)
        self._pulse = Pulse("system1", run.session)
        self._asks = run.config["system2"]["name"] != "none"
        self._sequence, self._epoch, self._tick = first_sequence(self._clock.now_ns()), -1, -1
        self.amiss: tuple[AnswerFaults, FaultClock] | None = None
        self.elsewhere: Elsewhere | None = None  # in place of a System 2 on this machine
        self._unfit: Counter[str] = Counter()
        counts["unfit"] = self._unfit
        self._life, self._greeted = self._sequence, False
        self._seams: dict[int, float] = {}
        self._senses = Senses(run.spec, run.config["shield"]["max_observation_age_s"])
        counts.update(seams=self._seams, drops=self._inbox.drops, link_drops=requests.link.drops)
        counts.update(refused=policy.refused)

    @property
    def greeted(self) -> bool:
        """True once hello was said: nothing is answered before, also after a restart."""
        return self._greeted

    @property
    def engaged(self) -> bool:
        """True once an observation has come."""
        return self._epoch >= 0

    def idle(self) -> None:
        """No observation has come: take guidance in; say hello as long as nobody is known."""
        self._take_guidance(self._clock.now_ns())
        # The world begins after this: the recorder, which misses nothing, must be there.
        also = self._run.recorders
        watched = also + self._run.watchers
        links = [(self._asked, also), (self._healths, watched), (self._actions, 1 + also)]
        if self.elsewhere is not None:
            links += [(self.elsewhere.plans, also), (self.elsewhere.healths, also)]
        if not self.engaged and heard(*links):
            stamp = Stamp(self._run.session, 0, self._life, 0, self._clock.now_ns())
            self._actions.send(Hello(stamp, "system1", self._run.spec))
            self._greeted = True

    def answer(self, observation: Observation) -> None:
        """Act on an observation, unless it is another session's or not newer than the last."""
        start, seen = self._clock.now_ns(), observation.stamp
        if seen.session != self._run.session:
            return
        if seen.epoch != self._epoch:
            self._epoch = seen.epoch
            self._policy.reset(seen.epoch)
            self._inbox.reset(seen.epoch)
        elif seen.tick <= self._tick:
            return
        self._tick = seen.tick
        self._take_guidance(start)
        fault = self._senses.fault(observation)
        if fault is not None:
            self._blind(fault, observation.stamp)
            return
        answer = self._policy.act(observation, self._inbox.newest, start)
        self._pause()
        end = self._clock.now_ns()
        self._say(msgspec.structs.replace(answer.action, compute_ns=end - start))
        if answer.request is not None and self._asks:
            self._requests.ask(answer.request, self._clock.now_ns())
            self._asked.send(answer.request)
        self._pulse.measured("act", end - start)
        if answer.action.guidance_age_ticks >= 0:
            age_ns = answer.action.guidance_age_ticks * self._run.spec.period_ns
            self._pulse.measured("guidance_age", age_ns)
        self._seams[self._epoch] = self._policy.seam_jump
        report(self._healths, self._pulse.beat(end, self.counters(), self._epoch))

    def counters(self) -> dict[str, int]:
        """What was dropped so far, by reason."""
        return named(
            request=self._requests.link.drops,
            guidance=self._inbox.drops,
            not_used=self._policy.refused,
            observation=self._unfit,
        )

    def _say(self, action: Action) -> None:
        answers: list[Any] = [action]
        if self.amiss is not None:
            faults, time = self.amiss
            answers = faults.said(action, time.since_s())
        for answer in answers:
            self._sequence += 1
            place = {"sequence": self._sequence, "time_ns": self._clock.now_ns()}
            stamp = msgspec.structs.replace(answer.stamp, **place)
            self._actions.send(msgspec.structs.replace(answer, stamp=stamp))

    def _pause(self) -> None:
        if self.amiss is not None:
            faults, time = self.amiss
            STOP.wait(faults.pause_s(time.since_s()))

    def _blind(self, fault: str, stamp: Stamp) -> None:
        """Answer an observation that is worth nothing with what was meant to come next."""
        if not self._unfit[fault]:
            sys.stderr.write(f"dualsys system1: {self._senses.told}\n")
        self._unfit[fault] += 1
        now = self._clock.now_ns()
        self._say(self._policy.coast(stamp, now))
        report(self._healths, self._pulse.beat(now, self.counters(), self._epoch))

    def _take_guidance(self, now_ns: int) -> None:
        for guidance in self._requests.update(now_ns):
            told = guidance
            if self.elsewhere is not None:
                told = self.elsewhere.arrived(guidance, now_ns)
            self._inbox.offer(told, now_ns)
        if self.elsewhere is not None:
            self.elsewhere.keep_in_touch(now_ns)
