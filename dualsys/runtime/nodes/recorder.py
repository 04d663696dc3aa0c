"""The recorder's process: every message, verbatim, to a log; never slows anybody down."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from dualsys.bus import Publisher, Subscriber, ipc
from dualsys.clock import MonotonicClock
from dualsys.faults.disk import faulty_log
from dualsys.faults.fault import FaultClock, declared
from dualsys.faults.frames import FrameFaults
from dualsys.messages import Health, Hello, Message, Stamp
from dualsys.runtime.health import Pulse
from dualsys.runtime.log import LogWriter
from dualsys.runtime.nodes.common import ANOTHER_LIFE, STOP, Run, report, settle
from dualsys.runtime.recording import RecorderConfig, Recording

# One socket each. Health and requests travel apart, so that the newest message on a control topic
# is never one of them.
TOPICS = ("observation", "plan_request", "plan", "action", "outcome", "health_world",
          "health_system1", "health_system2", "health_recorder")  # fmt: skip


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
    gaps = Gaps(run.session)
    subscribers = [
        Subscriber(ipc(folder, topic), None, FrameFaults(faults, "recorder", time.since_s).passed)
        for topic in TOPICS
    ]
    with Publisher(ipc(folder, "health_recorder")) as health:
        while not STOP.is_set():
            subscribers[0].poll(20)
            record(subscribers, recording, gaps)
            recording.counts["undecodable"] = sum(s.drops["undecodable"] for s in subscribers)
            report(health, pulse.beat(clock.now_ns(), recording.counts))
    record(subscribers, recording, gaps)
    recording.close()
    for subscriber in subscribers:
        subscriber.close()


class Gaps:
    """Which messages are of this session, and how many never came: they are numbered. Pure."""

    def __init__(self, session: int) -> None:
        self._session = session
        self._last: dict[tuple[str, int], int] = {}

    def missing(self, tag: str, stamp: Stamp) -> int | None:
        """How many are missing before this one; None for one of another session."""
        if stamp.session != self._session:
            return None
        place, last = (tag, stamp.epoch), self._last.get((tag, stamp.epoch))
        self._last[place] = stamp.sequence
        gap = 0 if last is None else max(0, stamp.sequence - last - 1)
        return gap if gap < ANOTHER_LIFE else 0


def record(topics: list[Any] | list[Topic], recording: Recording, gaps: Gaps) -> None:
    """Put what has come of this session on every topic, a cause before what came of it.

    So they are read against the order of the topics, and written in it.
    """
    read = [topic.frames() for topic in reversed(topics)]
    for messages in reversed(read):
        for frame, message in messages:
            if isinstance(message, Hello):
                continue
            tag = str(type(message).__struct_config__.tag)
            who = f"{tag} {message.process}" if isinstance(message, Health) else tag
            missing = gaps.missing(who, message.stamp)
            if missing is None:
                recording.counts["session"] += 1
                continue
            recording.counts["missing"] += missing
            recording.put(tag, frame, message.stamp.time_ns)
