"""`dualsys view`: from a log to a viewer's window, a browser or a file."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import rerun as rr

from dualsys.errors import DualsysError
from dualsys.messages import Action, Command, Health, Label, Message, Observation, Outcome
from dualsys.runtime.log import parts_of, read_header, read_log
from dualsys.runtime.tail import LogTail
from dualsys.spec import WorldSpec
from dualsys.view.blueprint import STYLES, blueprint
from dualsys.view.picture import Picture
from dualsys.view.window import Window

LOOK_S = 0.1
STREAMS = (Observation, Action, Outcome, Label)  # one at every tick


class Timeline:
    """Where a message stands: seconds since the first tick, ticks over all episodes, episode.

    Pure. What comes before the first observation, while processes load, stands nowhere.
    """

    def __init__(self) -> None:
        self._begin_ns: int | None = None
        self._epoch, self._before, self._tick = 0, 0, 0

    def of(self, message: Message) -> tuple[float, int, int] | None:
        """Seconds, tick and episode of a message."""
        stamp = message.stamp
        if self._begin_ns is None:
            if not isinstance(message, Observation):
                return None
            self._begin_ns = stamp.time_ns
        seconds = (stamp.time_ns - self._begin_ns) / 1e9
        if isinstance(message, Health):  # is about no tick: stands at the newest one
            return seconds, self._before + max(0, self._tick - 1), self._epoch
        if stamp.epoch > self._epoch:
            self._epoch, self._before, self._tick = stamp.epoch, self._before + self._tick, 0
        if stamp.epoch == self._epoch:
            self._tick = max(self._tick, stamp.tick + 1)
        return seconds, self._before + stamp.tick, stamp.epoch


class Viewer:
    """A Rerun recording of one run, sent to a window or written to a file."""

    def __init__(self, spec: WorldSpec, name: str, to: Window | Path) -> None:
        self._stream = rr.RecordingStream("dualsys", recording_id=name)
        self._picture, self._timeline = Picture(spec), Timeline()
        if isinstance(to, Path):
            to.parent.mkdir(parents=True, exist_ok=True)
            self._stream.save(to)
        else:
            self._stream.connect_grpc(to.source)
        self._stream.send_blueprint(blueprint(spec))
        for path, style in STYLES.items():
            self._stream.log(path, style, static=True)

    def show(self, messages: Iterable[Message]) -> int:
        """Show messages, in the order of the log; returns how many."""
        count = 0
        for message in messages:
            place = self._timeline.of(message)
            if place is None:
                continue
            seconds, tick, episode = place
            self._stream.set_time("run", duration=seconds)
            self._stream.set_time("tick", sequence=tick)
            self._stream.set_time("episode", sequence=episode)
            for path, shown in self._picture.of(message):
                self._stream.log(path, shown)
            count += 1
        return count

    def close(self) -> None:
        """What is still on its way gets there."""
        self._stream.flush()
        self._stream.disconnect()


def show_log(log: Path, to: Window | Path, epoch: int | None = None) -> int:
    """Show a log that is there, or one episode of it. Returns how many messages were shown."""
    viewer = Viewer(spec_of(log), _name(log), to)
    count = viewer.show(m for _, m in read_log(log) if epoch in (None, m.stamp.epoch))
    viewer.close()
    if not count:
        raise DualsysError(
            f"{log} holds nothing of episode {epoch}; results.json lists them as epoch"
        )
    return count


def follow_log(log: Path, to: Window | Path, over: threading.Event) -> int:
    """Show a log while it is written, until told that it is `over`; returns how many messages.

    Of what comes at every tick it shows the newest ten times a second: who looks on shares the
    machine with the run. The log has them all.
    """
    while not _has_header(log):
        if over.wait(LOOK_S):
            return 0
    viewer, tail, count = Viewer(spec_of(log), _name(log), to), LogTail(log), 0
    while True:
        last = over.wait(LOOK_S)  # asked before the log is read for the last time
        count += viewer.show(thinned(tail.new()))
        if last:
            viewer.close()
            return count


def thinned(messages: Iterable[Message]) -> list[Message]:
    """The messages without those of a stream that a newer one of the same episode follows.

    Commands of which there is something to say stay: interventions, and another rung than before.
    """
    newest: dict[tuple[type, int], int] = {}
    kept: list[Message | None] = []
    rung = ""
    for message in messages:
        told = isinstance(message, Command) and (message.interventions or message.rung != rung)
        rung = message.rung if isinstance(message, Command) else rung
        if isinstance(message, (*STREAMS, Command)) and not told:
            key = type(message), message.stamp.epoch
            if key in newest:
                kept[newest[key]] = None
            newest[key] = len(kept)
        kept.append(message)
    return [message for message in kept if message is not None]


def _has_header(log: Path) -> bool:
    if not parts_of(log):
        return False
    try:
        read_header(log)
    except DualsysError:
        return False
    return True


def spec_of(log: Path) -> WorldSpec:
    """The world of a log. Raises `DualsysError` where it is of several that differ."""
    from sim import registry

    header: dict[str, Any] = read_header(log)
    specs = [registry.spec_of(scenario) for scenario in header["scenarios"]]
    if any(spec != specs[0] for spec in specs):
        raise DualsysError(
            f"{log} is of several worlds ({', '.join(header['scenarios'])}), which differ in "
            "cameras or axes; view runs of one of them"
        )
    return specs[0]


def _name(log: Path) -> str:
    return str(log.resolve().parent)
