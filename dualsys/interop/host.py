"""System 1, and System 2 behind it, for whoever asks over the wire of another stack.

A control loop of the peer's: it observes and carries out, and nothing of ours stands between our
commands and its plant but the box of their limits. The shield's other limits, its ladder and its
fallback are the peer's affair.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Hashable, Mapping
from typing import Any

import msgspec
import numpy as np

import dualsys
from dualsys.blank import blank_observation
from dualsys.bus import RequestClient
from dualsys.clock import Clock
from dualsys.errors import DualsysError, SpecMismatchError
from dualsys.inbox import Inbox
from dualsys.interop.naming import Naming, PeerNames, observe
from dualsys.messages import Guidance, Introduction, PlanRequest, Stamp
from dualsys.runtime.drivers import make_system1
from dualsys.runtime.room import Room
from dualsys.spec import WorldSpec
from dualsys.system1.foreign import ForeignPolicy
from dualsys.system1.policy import Policy

TICK = "tick"  # what a peer may send beside its own keys: the control tick of its episode


class Answer(msgspec.Struct, frozen=True):
    """What a peer gets."""

    commands: np.ndarray  # float32 (T, A) from the observation's tick on, in the world's units
    uncertainty: float  # [nat], nan where it is not known
    plan: str  # that System 2 has told, "" without one
    guidance_age_s: float  # since the observation that it is about, nan without one


class Adviser:
    """System 2 in a process of its own: asked, never waited for. Made and ended by one thread."""

    def __init__(self, config: dict[str, Any], words: Introduction, clock: Clock) -> None:
        self._room = Room(config, words, clock)
        self._requests = RequestClient(self._room.address)
        self._told = ""

    def look_after(self, now_ns: int) -> None:
        """Keep the process alive; say what became of it, once."""
        self._room.step(now_ns)
        state, reason = self._room.state
        if state != self._told:
            self._told = state
            said = {"ready": "System 2 is ready", "refused": f"no System 2: {reason}"}
            say(said.get(state, reason))

    def hear(self, now_ns: int) -> list[Guidance]:
        """Guidance that has come."""
        return self._requests.update(now_ns)

    def ask(self, request: PlanRequest, now_ns: int) -> None:
        """Ask; a newer request supersedes an older one."""
        if self._told == "ready":  # before that it would be old when it is read
            self._requests.ask(request, now_ns)

    def close(self) -> None:
        """End the process."""
        self._room.close()
        self._requests.close()


class Host:
    """One control loop: who asks, which episode and tick it is, and what is answered.

    Whoever asks after another one begins a new episode, and so does one that says `reset`; answers
    of two that ask in turns are right, but know nothing of what was before. May be called from
    several threads.
    """

    def __init__(
        self,
        spec: WorldSpec,
        naming: Naming,
        policy: Policy | ForeignPolicy,
        adviser: Adviser | None,
        ticks_per_call: int,
    ) -> None:
        self.spec, self.naming = spec, naming
        self._policy, self._adviser, self._ticks_per_call = policy, adviser, ticks_per_call
        self._session = int.from_bytes(os.urandom(8), "little") >> 11
        self._inbox: Inbox[Guidance] = Inbox(self._session, 0, policy.fault)
        self._client: Hashable = None
        self._epoch, self._tick, self._sequence = 0, -1, 0
        self._lock = threading.Lock()
        policy.warm_up()
        nothing = blank_observation(spec, 0)
        self.horizon_ticks = len(policy.act(nothing, None, 0).action.commands)
        policy.reset(0)

    def reset(self, client: Hashable) -> None:
        """Begin an episode of `client`."""
        with self._lock:
            self._begin(client)

    def answer(self, client: Hashable, given: Mapping[str, Any], now_ns: int) -> Answer:
        """Answer an observation under the peer's names.

        Its tick is `tick` in it, else `ticks_per_call` after the last one. Raises
        `SpecMismatchError` for one that does not fit, which leaves the episode as it was.
        """
        with self._lock:
            fresh = client != self._client
            tick = self._tick_of(given, fresh)
            stamp = Stamp(self._session, self._epoch + fresh, self._sequence + 1, tick, now_ns)
            observation = observe(self.naming, self.spec, given, stamp)
            if fresh:
                self._begin(client)
            for guidance in self._adviser.hear(now_ns) if self._adviser else ():
                self._inbox.offer(guidance, now_ns)
            answer = self._policy.act(observation, self._inbox.newest, now_ns)
            self._tick, self._sequence = tick, self._sequence + 1
            if answer.request is not None and self._adviser is not None:
                self._adviser.ask(answer.request, now_ns)
            return self._told(answer.action.commands, answer.action.uncertainty, tick)

    def about(self) -> dict[str, Any]:
        """Who answers, for which world, under which names."""
        return {
            "server": f"dualsys {dualsys.__version__}",
            "domain": self.spec.domain,
            "control_rate_hz": self.spec.control_rate_hz,
            "horizon_ticks": self.horizon_ticks,
            "images": {
                self.naming.images[c.name]: [c.height, c.width, c.channels]
                for c in self.spec.cameras
            },
            "state": _with_units(self.naming.state, self.spec.state),
            "action": _with_units(self.naming.action, self.spec.action),
            "prompt": self.naming.prompt,
            "plans": list(self.spec.plans),
        }

    def _begin(self, client: Hashable) -> None:
        self._client, self._epoch, self._tick = client, self._epoch + 1, -1
        self._policy.reset(self._epoch)
        self._inbox.reset(self._epoch)

    def _tick_of(self, given: Mapping[str, Any], fresh: bool) -> int:
        last = -1 if fresh else self._tick
        tick = given.get(TICK, 0 if last < 0 else last + self._ticks_per_call)
        if type(tick) is not int or not last < tick < 2**53:
            raise SpecMismatchError(
                f"{TICK!r} is {tick!r}, a whole number above {last} was expected: an episode's "
                "ticks go up, and a new episode is a new connection, or a reset"
            )
        return tick

    def _told(self, commands: np.ndarray, uncertainty: float, tick: int) -> Answer:
        if not np.isfinite(commands).all():
            raise DualsysError(f"System 1 answers tick {tick} with numbers that are not finite")
        inside = np.clip(commands, self.spec.action_low, self.spec.action_high)
        told = self._policy.in_force(tick)
        if told is None:
            return Answer(inside, uncertainty, "", float("nan"))
        age_s = (tick - told.stamp.tick) / self.spec.control_rate_hz
        return Answer(inside, uncertainty, self.spec.plans[told.plan], age_s)


def _with_units(streams: Mapping[str, tuple[str, ...]], axes: Any) -> dict[str, list[str]]:
    unit = {axis.name: axis.unit for axis in axes}
    return {key: [f"{name} [{unit[name]}]" for name in names] for key, names in streams.items()}


def host_of(config: dict[str, Any], protocol: str, clock: Clock) -> tuple[Host, Adviser | None]:
    """The loop of a configuration, for its scenario's world and a protocol's names.

    Raises `DualsysError`.
    """
    from sim import registry

    if config["system2"]["name"] == "served":
        raise DualsysError("system2=served is for runs; choose a planner that runs here")
    plant = registry.make(config["scenario"])
    spec, plans = plant.world_spec, dict(plant.plan_hints)
    plant.close()
    naming = Naming.of(spec, protocol, PeerNames.of(config["peer"]), whole_state=True)
    # A peer that asks wants a chunk of its own for it, whole.
    every = {**config["system1"], "replan_s": 1 / spec.control_rate_hz}
    policy, engine = make_system1({**config, "system1": every}, spec)
    say(f"System 1 runs on {engine['used']}")
    adviser = None
    if config["system2"]["name"] != "none":
        stamp, budget = Stamp(0, 0, 0, 0, 0), config["system2"]["budget"]
        words = Introduction(stamp, dualsys.__version__, spec, plans, budget)
        adviser = Adviser(config, words, clock)
    return Host(spec, naming, policy, adviser, config["peer"]["ticks_per_call"]), adviser


def say(text: str) -> None:
    """One line for whoever runs the server."""
    sys.stderr.write(f"dualsys serve: {text}\n")
