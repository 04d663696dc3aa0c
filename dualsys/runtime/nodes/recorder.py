"""The recorder's process: every message, verbatim, to a log; never slows anybody down."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from dualsys.bus import Publisher, Subscriber, ipc
from dualsys.clock import MonotonicClock
from dualsys.faults.disk import faulty_log
from dualsys.faults.fault import FaultClock, declared
from dualsys.faults.frames import FrameFaults
from dualsys.messages import Hello, Message
from dualsys.runtime.health import Pulse
from dualsys.runtime.log import LogWriter
from dualsys.runtime.nodes.common import STOP, Run, report, settle
from dualsys.runtime.recording import RecorderConfig, Recording

# One socket each. Health and requests travel apart, so that the newest message on a control topic
# is never one of them.
TOPICS = ("observation", "plan_request", "plan", "action", "outcome", "health_world",
          "health_system1", "health_system2")  # fmt: skip


class Topic(Protocol):
    """Where messages come from."""

    def frames(self) -> list[tuple[bytes, Message]]:
        """All since the last call, in order, as they were sent and decoded."""
        ...


def run(run: Run, folder: Path, counts: dict[str, Any]) -> None:
    """Record until told to stop, then what is still on its way."""
    clock, pulse = MonotonicClock(), Pulse("recorder", run.session)
    header = {"config": run.config, "scenarios": [run.scenario], "session": run.session}
    settings = RecorderConfig(**run.config["recorder"])
    faults, time = declared(run.config), FaultClock(folder, clock)
    opened = faulty_log(faults, time.since_s) if faults else LogWriter
    recording = Recording(Path(run.config["out"]) / "log.mcap", header, settings, opened)
    counts["recording"] = recording.counts
    settle(run, "recorder", counts)
    subscribers = [
        Subscriber(ipc(folder, topic), None, FrameFaults(faults, "recorder", time.since_s).passed)
        for topic in TOPICS
    ]
    with Publisher(ipc(folder, "health_recorder")) as health:
        while not STOP.is_set():
            subscribers[0].poll(20)
            record(subscribers, recording, run.session)
            report(health, pulse.beat(clock.now_ns(), recording.counts))
    record(subscribers, recording, run.session)
    recording.counts["undecodable"] = sum(s.drops["undecodable"] for s in subscribers)
    recording.close()
    for subscriber in subscribers:
        subscriber.close()


def record(topics: list[Any] | list[Topic], recording: Recording, session: int) -> None:
    """Put what has come of this session on every topic, a cause before what came of it.

    So they are read against the order of the topics, and written in it.
    """
    read = [topic.frames() for topic in reversed(topics)]
    for messages in reversed(read):
        for frame, message in messages:
            if message.stamp.session != session:
                recording.counts["session"] += 1
            elif not isinstance(message, Hello):
                tag = str(type(message).__struct_config__.tag)
                recording.put(tag, frame, message.stamp.time_ns)
