"""The processes of a realtime run: thin shells around the cores that lockstep drives too.

`python -m dualsys.runtime.nodes ROLE FOLDER`; roles are world, system1, system2 and recorder. The
folder holds `run.json` and the sockets. Each node leaves `ROLE.json` with what it counted.
"""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from dualsys.bus import Publisher, RequestClient, RequestServer, Subscriber, ipc
from dualsys.clock import MonotonicClock, StallDetector
from dualsys.config import set_headless_defaults
from dualsys.errors import DualsysError
from dualsys.inbox import Inbox
from dualsys.messages import (
    Action,
    Guidance,
    Health,
    Hello,
    Observation,
    Outcome,
    PlanRequest,
    Stamp,
)
from dualsys.runtime import assembly
from dualsys.runtime.health import Pulse
from dualsys.runtime.log import LogWriter
from dualsys.runtime.ticks import Ticks
from dualsys.spec import WorldSpec, require_same

# One socket each; the recorder reads all of them. Health travels apart, so that the newest message
# on a control topic is never one of it.
TOPICS = ("observation", "outcome", "action", "plan", "health_world", "health_system1",
          "health_system2")  # fmt: skip
HELLO_PATIENCE_NS = 60_000_000_000


class Run(msgspec.Struct, frozen=True):
    """What every node of a run knows."""

    config: dict[str, Any]
    scenario: str
    seeds: list[int]
    session: int
    spec: WorldSpec
    plans: dict[str, str]  # instruction -> plan, where the task names it
    duration_s: float  # stop the world after this long; 0: every seed once


_STOP = threading.Event()  # set by SIGTERM; an exception could tear a record in two


def main(role: str, folder: Path) -> None:
    """Run one node until it is done or told to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    signal.signal(signal.SIGTERM, _stop)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no orphans
    set_headless_defaults()
    run = msgspec.json.decode((folder / "run.json").read_bytes(), type=Run)
    node = {"world": world, "system1": system1, "system2": system2, "recorder": recorder}[role]
    counts: dict[str, Any] = {}
    try:
        node(run, folder, counts)
    except DualsysError as error:
        sys.stderr.write(f"dualsys {role}: {error}\n")
        sys.exit(2)
    finally:
        partial = folder / f"{role}.json.partial"
        partial.write_bytes(msgspec.json.encode(counts))
        partial.replace(folder / f"{role}.json")


def _stop(number: int, frame: object) -> None:
    _STOP.set()


def world(run: Run, folder: Path, counts: dict[str, Any]) -> None:
    """The plant and its shield: ticks on absolute deadlines and waits for nobody."""
    from sim import registry

    clock, plant = MonotonicClock(), registry.make(run.scenario)
    shield = assembly.make_shield(run.config, run.spec)
    stalls = StallDetector(clock)
    with (
        Publisher(ipc(folder, "observation")) as observations,
        Publisher(ipc(folder, "outcome")) as outcomes,
        Subscriber(ipc(folder, "action")) as actions,
        Publisher(ipc(folder, "health_world")) as healths,
    ):
        plant.reset(seed=run.seeds[0])  # the first reset and frame are the slowest
        _await_hello(actions, run.spec, clock)
        stalls.start()
        inbox: Inbox[Action] = Inbox(run.session, 0)
        ticks = Ticks(clock, run.spec.period_ns)
        pulse = Pulse("world", run.session)
        begin = clock.now_ns()
        try:
            for epoch, seed in enumerate(run.seeds):
                left_ns = run.duration_s * 1e9 - (clock.now_ns() - begin)
                if _STOP.is_set() or (run.duration_s and left_ns <= 0):
                    break
                inbox.reset(epoch)
                shield.reset()
                links = (observations, outcomes, actions, healths)
                _episode(run, plant, shield, epoch, seed, ticks, inbox, links, pulse)
        finally:
            counts.update(ticks.report(stalls.stop()))
            counts.update(shield=shield.counts, drops=inbox.drops)
            plant.close()


def _episode(
    run: Run,
    plant: Any,
    shield: Any,
    epoch: int,
    seed: int,
    ticks: Ticks,
    inbox: Inbox[Action],
    links: tuple[Publisher, Publisher, Subscriber, Publisher],
    pulse: Pulse,
) -> None:
    observations, outcomes, actions, healths = links
    frame, info = plant.reset(seed=seed)
    solved = done = False
    tick = 0
    ticks.restart()
    while not done and not _STOP.is_set():
        now = ticks.wait()
        stamp = Stamp(run.session, epoch, tick + 1, tick, now)
        observations.send(
            Observation(
                stamp,
                frame["images"],
                info["image_ticks"],
                frame["state"],
                frame["scene"],
                plant.instruction,
            )
        )
        newest = actions.newest()
        if isinstance(newest, Action) and inbox.offer(newest, now):
            shield.offer(newest)
        command = shield.command(stamp)
        ticks.judge(tick, inbox.newest)
        outcomes.send(command)
        frame, reward, terminated, truncated, info = plant.step(command.command)
        metrics = {**info["metrics"], "collision": float(info["collision"])}
        success = bool(info["success"])
        outcomes.send(Outcome(stamp, reward, terminated, truncated, success, metrics))
        solved = success and run.spec.domain == "manipulation"
        done = terminated or truncated or solved or ticks.over(run.duration_s)
        tick += 1
        _report(healths, pulse.beat(now, shield.counts, epoch))


def _report(publisher: Publisher, health: Health | None) -> None:
    if health is not None:
        publisher.send(health)


def _await_hello(actions: Subscriber, spec: WorldSpec, clock: MonotonicClock) -> None:
    begin = clock.now_ns()
    while not _STOP.is_set() and clock.now_ns() - begin < HELLO_PATIENCE_NS:
        actions.poll(100)
        for message in actions.every():
            if isinstance(message, Hello):
                require_same(spec, message.spec, "the world", message.role)
                return
    if not _STOP.is_set():
        raise DualsysError("System 1 did not report within 60 s; see its messages above")


def system1(run: Run, folder: Path, counts: dict[str, Any]) -> None:
    """Answers every observation; asks System 2 and never waits for it."""
    clock = MonotonicClock()
    choice = assembly.make_engine(run.config, run.spec)
    policy = assembly.make_policy(run.config, run.spec, choice.engine)
    policy.warm_up(30)
    inbox: Inbox[Guidance] = Inbox(run.session, 0)
    act_ns: list[int] = []
    pass_ns: list[int] = []  # of them, those in which the network ran
    passes: Counter[int] = Counter()
    seams: dict[int, list[float]] = {}
    counts.update(act_ns=act_ns, pass_ns=pass_ns, passes=passes, seams=seams, drops=inbox.drops)
    counts["engine"] = {"used": choice.engine.name, "refused": choice.refused}
    with (
        Subscriber(ipc(folder, "observation")) as observations,
        Publisher(ipc(folder, "action")) as actions,
        RequestClient(ipc(folder, "requests")) as requests,
        Publisher(ipc(folder, "health_system1")) as healths,
    ):
        counts["link_drops"] = requests.link.drops
        counts["observation_drops"] = observations.drops
        sequence, epoch, tick = 0, -1, -1
        pulse = Pulse("system1", run.session)
        while not _STOP.is_set():
            if not observations.poll(20 if epoch < 0 else 5):
                for guidance in requests.update(clock.now_ns()):
                    inbox.offer(guidance, clock.now_ns())
                if epoch < 0:
                    stamp = Stamp(run.session, 0, 0, 0, clock.now_ns())
                    actions.send(Hello(stamp, "system1", run.spec))
                continue
            observation = observations.newest()
            start = clock.now_ns()
            if not isinstance(observation, Observation) or observation.stamp.session != run.session:
                continue
            if observation.stamp.epoch != epoch:
                epoch = observation.stamp.epoch
                policy.reset(epoch)
                inbox.reset(epoch)
            elif observation.stamp.tick <= tick:
                continue
            tick = observation.stamp.tick
            for guidance in requests.update(start):
                inbox.offer(guidance, start)
            answer = policy.act(observation, inbox.newest, start)
            end = clock.now_ns()
            sequence += 1
            stamp = Stamp(run.session, epoch, sequence, tick, end)
            actions.send(
                msgspec.structs.replace(answer.action, stamp=stamp, compute_ns=end - start)
            )
            if answer.request is not None and run.config["system2"]["name"] != "none":
                requests.ask(answer.request, clock.now_ns())
            act_ns.append(end - start)
            pulse.measured("act", end - start)
            _report(healths, pulse.beat(end, requests.link.drops, epoch))
            if answer.provenance.replanned:
                passes[epoch] += 1
                pass_ns.append(end - start)
            seams[epoch] = list(policy.seam_jumps)


def system2(run: Run, folder: Path, counts: dict[str, Any]) -> None:
    """Thinks about the newest request; every answer is sent until it is acknowledged."""
    clock = MonotonicClock()
    planner = assembly.make_planner(run.config, run.spec, run.plans)
    think_ns: list[int] = []
    counts["think_ns"] = think_ns
    if planner is None:
        return
    with (
        RequestServer(ipc(folder, "requests")) as requests,
        Publisher(ipc(folder, "plan")) as plans,
        Publisher(ipc(folder, "health_system2")) as healths,
    ):
        counts.update(drops=requests.link.drops, faults=planner.faults)
        sequence = 0
        pulse = Pulse("system2", run.session)
        request: PlanRequest | None = None
        counts["interrupted"] = 0
        while not _STOP.is_set():
            if request is None:
                requests.poll(5)
                request = requests.update(clock.now_ns())
            _report(healths, pulse.beat(clock.now_ns(), requests.link.drops))
            if request is None:
                continue
            plans.send(request)
            start, newer = clock.now_ns(), None
            for guidance in planner.think(request, run.config["system2"]["budget"]):
                sequence += 1
                now = clock.now_ns()
                stamp = msgspec.structs.replace(guidance.stamp, sequence=sequence, time_ns=now)
                sent = msgspec.structs.replace(guidance, stamp=stamp, thinking_ns=now - start)
                requests.answer(sent, now)
                plans.send(sent)
                if planner.thought is not None:
                    plans.send(msgspec.structs.replace(planner.thought, stamp=stamp))
                newer = requests.update(clock.now_ns())
                if newer is not None:  # what it asks about is fresher than what is thought about
                    counts["interrupted"] += not guidance.final
                    break
            think_ns.append(clock.now_ns() - start)
            pulse.measured("think", think_ns[-1])
            request = newer


def recorder(run: Run, folder: Path, counts: dict[str, Any]) -> None:
    """Writes every message; never slows anybody down."""
    out = Path(run.config["out"])
    header = {"config": run.config, "scenarios": [run.scenario], "session": run.session}
    subscribers = [Subscriber(ipc(folder, topic)) for topic in TOPICS]
    written: Counter[str] = Counter()
    counts["written"] = written
    with LogWriter(out / "log.mcap", header) as log:
        while not _STOP.is_set():
            subscribers[0].poll(20)
            _record(subscribers, log, written)
        _record(subscribers, log, written)
    for subscriber in subscribers:
        subscriber.close()


def _record(subscribers: list[Subscriber], log: LogWriter, written: Counter[str]) -> None:
    for subscriber in subscribers:
        for message in subscriber.every():
            if not isinstance(message, Hello):
                topic = str(type(message).__struct_config__.tag)
                log.write(topic, message)
                written[topic] += 1


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
