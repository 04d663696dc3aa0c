"""The world's process: plant and shield; ticks on absolute deadlines and waits for nobody."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from dualsys.bus import Publisher, Subscriber, ipc
from dualsys.clock import MonotonicClock, StallDetector
from dualsys.errors import DualsysError
from dualsys.faults.fault import FaultClock, declared
from dualsys.faults.sensors import SensorFaults
from dualsys.inbox import Inbox
from dualsys.messages import Action, Hello, Observation, Stamp
from dualsys.runtime import assembly
from dualsys.runtime.health import Pulse
from dualsys.runtime.nodes.common import STOP, Run, heard, named, report, settle
from dualsys.runtime.observe import observation_of, outcome_of
from dualsys.runtime.plant import Plant
from dualsys.runtime.served import NAME
from dualsys.runtime.ticks import Ticks
from dualsys.spec import require_same

REST_S = 1.0  # that a robot has for coming to rest
HELLO_PATIENCE_NS = 60_000_000_000


def run(run: Run, folder: Path, counts: dict[str, Any]) -> None:
    """Wait for System 1, then run every seed once or until the time is over.

    Whatever ends it, a robot's last command is the fallback.
    """
    from sim import registry

    clock, world = MonotonicClock(), registry.make(run.scenario)
    plant = Plant(world, run.scenario, run.config["runtime"]["step_patience_s"])
    stalls = StallDetector(clock)
    with closing(plant), WorldNode(run, folder, plant) as node:
        plant.watch(lambda: node.shield.fallback)
        plant.reset(run.seeds[0])  # the first reset and frame are the slowest
        settle(run, "world", counts)
        node.await_others(clock)
        if run.config["system2"]["name"] not in ("none", NAME):  # elsewhere: it was called ahead
            await_planner(folder, run.config["runtime"]["planner_patience_s"], clock)
        stalls.start()
        ticks = Ticks(clock, run.spec.period_ns)
        begin = clock.now_ns()
        try:
            for epoch, seed in enumerate(run.seeds):
                left_ns = run.duration_s * 1e9 - (clock.now_ns() - begin)
                if STOP.is_set() or (run.duration_s and left_ns <= 0):
                    break
                node.episode(epoch, seed, ticks)
        finally:
            counts.update(ticks.report(stalls.stop()))
            counts.update(shield=node.shield.counts, drops=node.inbox.drops)


def await_planner(folder: Path, patience_s: float, clock: MonotonicClock) -> None:
    """Wait for System 2's first sign of life; without one the run begins, and says so."""
    begin, healths = clock.now_ns(), Subscriber(ipc(folder, "health_system2"))
    try:
        while not STOP.is_set() and clock.now_ns() - begin < patience_s * 1e9:
            healths.poll(100)
            if healths.every():
                return
    finally:
        healths.close()
    if not STOP.is_set():
        sys.stderr.write(
            f"dualsys world: System 2 is not ready after {patience_s:g} s "
            "(runtime.planner_patience_s); the run begins without it\n"
        )


class WorldNode:
    """The plant with its shield and sockets."""

    def __init__(self, run: Run, folder: Path, plant: Plant) -> None:
        self.shield = assembly.make_shield(run.config, run.spec)
        self.inbox: Inbox[Action] = Inbox(run.session, 0)
        self._run, self._plant = run, plant
        self._pulse = Pulse("world", run.session)
        self.time = FaultClock(folder, MonotonicClock())
        faults = declared(run.config)
        self._senses = SensorFaults(faults, run.spec) if faults else None
        self._last = Stamp(run.session, 0, 0, 0, MonotonicClock().now_ns())
        self._who = -1  # which life of System 1 is known, by the number of its hello
        self._observations = Publisher(ipc(folder, "observation"))
        self._outcomes = Publisher(ipc(folder, "outcome"))
        self.actions = Subscriber(ipc(folder, "action"))
        self._healths = Publisher(ipc(folder, "health_world"))

    def __enter__(self) -> WorldNode:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._plant.live:
            stopped = self.shield.stop(self._last, "run_over" if kind is None else "run_failed")
            self._plant.stop(stopped.command)
            self._outcomes.send(stopped)
        for socket in (self._observations, self._outcomes, self.actions, self._healths):
            socket.close()

    def await_others(self, clock: MonotonicClock) -> None:
        """Wait until System 1 is engaged, and hears the world as the recorder does.

        It says hello once it is warm, and goes on saying so: those are its signs of life.
        """
        begin, also, ladder = clock.now_ns(), self._run.recorders, self.shield.ladder
        watched = also + self._run.watchers
        links = (self._observations, 1 + also), (self._outcomes, also), (self._healths, watched)
        while not STOP.is_set() and clock.now_ns() - begin < HELLO_PATIENCE_NS:
            self.actions.poll(100)
            for message in self.actions.every():
                if isinstance(message, Hello):
                    self._known(message, clock.now_ns())
            if not ladder.missing() and heard(*links):
                return
        if not STOP.is_set():
            lacking = ", ".join(ladder.missing())
            who = f"System 1 is not engaged (missing: {lacking})" if lacking else "nobody records"
            raise DualsysError(f"after 60 s {who}; see the messages above")

    def _known(self, hello: Hello, now_ns: int) -> None:
        """Take a hello of a System 1 that is warm: of the one there is, or of a new one."""
        require_same(self._run.spec, hello.spec, "the world", hello.role)
        ladder = self.shield.ladder
        if hello.stamp.session != self._run.session:
            return
        if hello.stamp.sequence != self._who:
            self._who = hello.stamp.sequence
            ladder.greet()
        ladder.meet("schema")
        ladder.meet("warm-up")
        ladder.alive(now_ns)

    def episode(self, epoch: int, seed: int, ticks: Ticks) -> None:
        """One episode, to its end or until the run's time is over."""
        run, plant = self._run, self._plant
        self.inbox.reset(epoch)
        self.shield.reset()
        frame, info = plant.reset(seed)
        done, tick = False, 0
        ticks.restart()
        while not done and not STOP.is_set():
            now = ticks.wait()
            self.time.tick(now)
            stamp = self._last = Stamp(run.session, epoch, tick + 1, tick, now)
            command = self._command(stamp, self._observe(stamp, frame, info))
            ticks.judge(tick, self.inbox.newest)
            frame, reward, terminated, truncated, info = plant.step(command)
            outcome = outcome_of(stamp, reward, terminated, truncated, info)
            self._outcomes.send(outcome)
            solved = outcome.success and run.spec.domain == "manipulation"
            done = terminated or truncated or solved or ticks.over(run.duration_s)
            tick += 1
            counted = named(shield=self.shield.counts, action=self.inbox.drops)
            report(self._healths, self._pulse.beat(now, counted, epoch))
        if plant.live:
            self._come_to_rest(frame, info, ticks)

    def _come_to_rest(self, frame: Any, info: dict[str, Any], ticks: Ticks) -> None:
        """Lead a robot to the fallback as gently as the shield does, then leave it there.

        In the log these ticks have a command and no outcome: they are of no episode.
        """
        run, tick = self._run, self._last.tick
        self.shield.withdraw()
        for _ in range(round(REST_S * run.spec.control_rate_hz)):
            tick += 1
            self._last = Stamp(run.session, self._last.epoch, tick + 1, tick, ticks.wait())
            command = self.shield.command(self._last, self._seen(self._last, frame, info))
            self._outcomes.send(command)
            frame, _, _, _, info = self._plant.step(command.command)
            if np.array_equal(command.command, self.shield.fallback):
                break
        self._plant.stop(self.shield.fallback)

    def _observe(self, stamp: Stamp, frame: dict[str, Any], info: dict[str, Any]) -> Observation:
        seen = self._seen(stamp, frame, info)
        self._observations.send(seen)
        return seen

    def _seen(self, stamp: Stamp, frame: dict[str, Any], info: dict[str, Any]) -> Observation:
        """What the sensors say, right or wrong."""
        seen = observation_of(self._plant, frame, info, stamp)
        return seen if self._senses is None else self._senses.seen(seen, self.time.since_s())

    def _command(self, stamp: Stamp, seen: Observation) -> Any:
        """What the shield makes of the newest action, and of what is seen now."""
        for message in self.actions.every():
            if isinstance(message, Hello):
                self._known(message, stamp.time_ns)
            elif isinstance(message, Action) and self.inbox.offer(message, stamp.time_ns):
                self.shield.offer(message)
        command = self.shield.command(stamp, seen)
        self._outcomes.send(command)
        return command.command
