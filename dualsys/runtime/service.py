"""System 2 as a service for runs on other machines: a door, and behind it the process of any run.

The door lets in who has a key, learns from each run for which world it is to think, starts System
2's own node for it and passes frames on. It never thinks nor loads itself, so that it answers at
once whatever System 2 does. What was loaded stays for the next run of the same world.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import dualsys
from dualsys.bus import wait
from dualsys.clock import Clock, MonotonicClock
from dualsys.codec import decode, encode
from dualsys.door import Arrival, Corridor, Door
from dualsys.environment import service_manager
from dualsys.errors import CodecError, DualsysError, VersionError
from dualsys.handshake import BUDGETS, Reception
from dualsys.messages import Ack, Admission, Guidance, Introduction, PlanRequest, Stamp
from dualsys.runtime import link
from dualsys.runtime.room import Room, wanted
from dualsys.supervisor.notify import Notifier
from dualsys.supervisor.supervisor import terminable, uninterrupted

PERIOD_MS = 20
TOLD = ("name", "checkpoint", "device", "engine", "model", "candidates")  # of the planner, to runs


def serve(config: dict[str, Any]) -> None:
    """Serve until told to end (Ctrl-C, SIGTERM).

    Raises `DualsysError` for a configuration that can not be served.
    """
    if config["system2"]["name"] in ("none", "served"):
        raise DualsysError(
            f"system2={config['system2']['name']} is no planner that could be served; choose "
            "another one, for example system2=vlm"
        )
    endpoint, keys = link.service_end(config["link"])
    clock, notifier = MonotonicClock(), Notifier(*service_manager())
    with terminable(), Door(endpoint, keys, config["link"]["frames_per_s"]) as door:
        service = Service(config, door, clock, notifier)
        try:
            say(f"listening at {endpoint}")
            notifier.ready(f"listening at {endpoint}")
            if config["scenario"]:
                service.load_ahead(config["scenario"])
            while True:
                service.wait()
                service.step(clock.now_ns())
                notifier.alive(clock.now_ns())
        except KeyboardInterrupt:  # how a service ends
            say("told to end")
        finally:
            with uninterrupted():
                notifier.stopping()
                service.close()


def say(text: str) -> None:
    """One line for whoever runs the service."""
    sys.stderr.write(f"dualsys serve: {text}\n")


class Service:
    """Passes frames between the run that is there and its room."""

    def __init__(
        self, config: dict[str, Any], door: Door, clock: Clock, notifier: Notifier
    ) -> None:
        self._config, self._door, self._clock, self._notifier = config, door, clock, notifier
        self._planner = {k: str(config["system2"][k]) for k in TOLD} | {
            "dualsys": dualsys.__version__
        }
        self._reception = Reception()
        self._room: Room | None = None
        self._corridor: Corridor | None = None  # to the room
        self._refusal = ""  # of what no room could be made for
        self._told: tuple[int, str] = (0, "")  # session and state that were last said
        self._foreign: set[str] = set()
        self._turned_away: Counter[str] = Counter()

    def wait(self) -> None:
        """Until something comes, or it is time to look after the process."""
        ways = [self._door] if self._corridor is None else [self._door, self._corridor]
        wait(PERIOD_MS, *ways)

    def load_ahead(self, scenario: str) -> None:
        """Load what runs of a scenario will need."""
        from sim import registry

        plant = registry.make(scenario)
        spec, plans = plant.world_spec, dict(plant.plan_hints)
        plant.close()
        budget = self._config["system2"]["budget"]
        nobody = Introduction(Stamp(0, 0, 0, 0, 0), dualsys.__version__, spec, plans, budget)
        self._make_room(nobody)

    def step(self, now_ns: int) -> None:
        """Take in and pass on what came; look after the process."""
        for arrival in self._door.arrivals(now_ns):
            self._take(arrival, now_ns)
        if self._room is not None and self._corridor is not None:
            self._room.step(now_ns)
            for frame in self._corridor.frames():
                self._pass_out(frame)
        self._tell()

    def close(self) -> None:
        """End what runs behind the door."""
        if self._room is not None and self._corridor is not None:
            room, corridor = self._room, self._corridor
            self._room = self._corridor = None
            room.close()
            corridor.close()

    @property
    def state(self) -> tuple[str, str]:
        """How far it is for the run that is there, and why no further."""
        if self._refusal or self._room is None:
            return "refused", self._refusal
        return self._room.state

    def _take(self, arrival: Arrival, now_ns: int) -> None:
        try:
            message = decode(arrival.frame)
        except VersionError as error:
            self._refuse_foreign(arrival, str(error))
            return
        except CodecError:
            self._reception.drops["undecodable"] += 1
            return
        if isinstance(message, Introduction):
            self._greet(message, arrival, now_ns)
        elif isinstance(message, PlanRequest | Ack) and self._corridor is not None:
            whose = message.stamp.session, arrival.peer, arrival.key
            # Before it is ready nothing waits for it: what is asked now is asked again, anew.
            if self._reception.admits(*whose, now_ns) and self.state[0] == "ready":
                self._corridor.send(arrival.frame)

    def _greet(self, words: Introduction, arrival: Arrival, now_ns: int) -> None:
        guest = self._reception.guest
        new = guest is None or guest.session != words.stamp.session
        if not self._reception.greet(words, arrival.peer, arrival.key, now_ns):
            state, reason = "busy", "System 2 thinks for another run; it is free when that ends"
        else:
            if new:
                say(f"a run introduces itself: {words.spec.domain}, dualsys {words.version}")
                self._make_room(words)
            state, reason = self.state
        answer = Admission(words.stamp, state, reason, self._planner)
        self._door.send(arrival.peer, encode(answer))

    def _make_room(self, words: Introduction) -> None:
        """Keep the room if it suits and works; else make another one."""
        room = self._room
        self._refusal = ""
        if words.budget not in BUDGETS:
            self._refusal = f"system2.budget={words.budget} is none of {', '.join(BUDGETS)}"
            return
        if room is not None and room.suits == wanted(words) and room.state[0] != "refused":
            return
        self.close()
        self._room = Room(self._config, words, self._clock)
        self._corridor = Corridor(self._room.address)

    def _pass_out(self, frame: bytes) -> None:
        guest, message = self._reception.guest, decode(frame)
        # What was thought for a run that is gone is not for the one that came after it.
        if not isinstance(message, Guidance | Ack) or guest is None:
            return
        if message.stamp.session == guest.session:
            self._door.send(guest.peer, frame)

    def _refuse_foreign(self, arrival: Arrival, why: str) -> None:
        # Sent in our own version, it says to the other side which one that is.
        self._reception.drops["version"] += 1
        nothing = Stamp(0, 0, 0, 0, 0)
        self._door.send(arrival.peer, encode(Admission(nothing, "refused", why, {})))
        if arrival.key not in self._foreign:
            self._foreign.add(arrival.key)
            say(f"a run is refused: {why}")

    def _tell(self) -> None:
        """Say what is new, once."""
        guest = self._reception.guest
        state, reason = self.state if guest is not None else ("", "")
        now = (0 if guest is None else guest.session, state)
        if now != self._told:
            self._told = now
            text = {"refused": f"the run is refused: {reason}", "ready": "System 2 is ready"}
            say(text.get(state, reason))
            self._notifier.status(text.get(state, reason))
        refused = self._door.refused()
        for why in [why for why, count in refused.items() if count > self._turned_away[why]]:
            if not self._turned_away[why]:
                say(f"somebody is turned away at the door ({why}); see `dualsys keys`")
            self._turned_away[why] = refused[why]
