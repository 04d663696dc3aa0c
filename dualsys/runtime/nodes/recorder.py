"""The recorder's process: writes every message; never slows anybody down."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from dualsys.bus import Subscriber, ipc
from dualsys.messages import Hello
from dualsys.runtime.log import LogWriter
from dualsys.runtime.nodes.common import STOP, Run, settle

# One socket each. Health and requests travel apart, so that the newest message on a control topic
# is never one of them.
TOPICS = ("observation", "plan_request", "plan", "action", "outcome", "health_world",
          "health_system1", "health_system2")  # fmt: skip


def run(run: Run, folder: Path, counts: dict[str, Any]) -> None:
    """Record until told to stop, then what is still on its way."""
    out = Path(run.config["out"])
    header = {"config": run.config, "scenarios": [run.scenario], "session": run.session}
    subscribers = [Subscriber(ipc(folder, topic)) for topic in TOPICS]
    written: Counter[str] = Counter()
    counts["written"] = written
    settle(run, "recorder", counts)
    with LogWriter(out / "log.mcap", header) as log:
        while not STOP.is_set():
            subscribers[0].poll(20)
            _record(subscribers, log, written)
        _record(subscribers, log, written)
    for subscriber in subscribers:
        subscriber.close()


def _record(subscribers: list[Subscriber], log: LogWriter, written: Counter[str]) -> None:
    # Read against the order of the topics, written in it: a cause stands before what came of it.
    read = [subscriber.every() for subscriber in reversed(subscribers)]
    for messages in reversed(read):
        for message in messages:
            if not isinstance(message, Hello):
                topic = str(type(message).__struct_config__.tag)
                log.write(topic, message)
                written[topic] += 1
