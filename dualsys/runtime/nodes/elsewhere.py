"""What System 1's process does where System 2 is elsewhere: keeps in touch, and tells the log.

A log has one clock, this machine's: what comes from the other one is stamped anew as it arrives.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from dualsys.bus import Publisher, RequestClient, ipc
from dualsys.handshake import Caller
from dualsys.messages import Guidance
from dualsys.runtime.health import Pulse
from dualsys.runtime.nodes.common import Run, named
from dualsys.runtime.served import introduction, restamped


class Elsewhere:
    """In place of System 2's process, for those who listen to it: recorder, supervisor, world."""

    def __init__(
        self, run: Run, requests: RequestClient, folder: Path, counts: dict[str, Any]
    ) -> None:
        self._requests, self._caller = requests, Caller(introduction(run))
        self._endpoint = run.config["link"]["requests"]
        self.plans = Publisher(ipc(folder, "plan"))
        self.healths = Publisher(ipc(folder, "health_system2"))
        self._pulse = Pulse("system2", run.session)
        self._state = ""
        self._told: dict[str, Any] = {"round_trip_ns": [], "said": 0, "heard": 0, "planner": {}}
        counts["elsewhere"] = self._told

    def __enter__(self) -> Elsewhere:
        return self

    def __exit__(self, *error: object) -> None:
        for socket in (self.plans, self.healths):
            socket.close()

    def keep_in_touch(self, now_ns: int) -> None:
        """Say who asks when it is time; take what came of it. Never waits."""
        words = self._caller.due(now_ns)
        if words is not None:
            self._requests.introduce(words)
            self._told["said"] = self._caller.said
        for admission in self._requests.admissions():
            if self._caller.hear(admission, now_ns):
                self._told["round_trip_ns"].append(self._caller.round_trip_ns)
                self._told.update(heard=self._caller.heard, planner=admission.planner)
                self._pulse.measured("round_trip", self._caller.round_trip_ns)
                self._say(admission.reason, now_ns)

    def arrived(self, guidance: Guidance, now_ns: int) -> Guidance:
        """Tell the log what came, under this machine's clock; returns it."""
        stamp = restamped(guidance.stamp, now_ns)
        told = msgspec.structs.replace(guidance, stamp=stamp)
        self.plans.send(told)
        return told

    def _say(self, reason: str, now_ns: int) -> None:
        state = self._caller.state
        if state != self._state:
            self._state = state
            told = f"is {state}" + (f": {reason}" if reason else "")
            sys.stderr.write(f"dualsys system1: System 2 at {self._endpoint} {told}\n")
        if state == "ready":  # a sign of its life
            counted = named(introductions={"said": self._caller.said, "heard": self._caller.heard})
            health = self._pulse.beat(now_ns, counted)
            if health is not None:
                self.healths.send(health)
