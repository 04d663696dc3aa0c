"""What is under way in virtual time, and System 1's actions on their way through the shield.

An action acts a latency after its observation, and only what the shield makes of it: so it is in
lockstep, and wherever a drive is gone on with from a recorded state.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec
import numpy as np

from dualsys.messages import Action, Command, Observation, Stamp
from dualsys.shield.shield import Shield

Other = TypeVar("Other")


class Midway(msgspec.Struct, frozen=True):
    """A drive between two ticks: what System 1 has sent and the plant has done so far.

    `actions`, oldest first, are those still under way or in force, as many as the log or the run
    holds; `commands` float32 (A,) are the last two carried out, oldest first, fewer at the start.
    """

    session: int = 0
    epoch: int = 0
    actions: tuple[Action, ...] = ()
    commands: tuple[np.ndarray, ...] = ()


class Transit(Generic[Other]):
    """The event queue of an episode, with the shield at the end of the way of actions.

    `Other` is whatever else travels in the same queue, in one order with the actions.
    """

    def __init__(self, shield: Shield, system1_ticks: int, period_ns: int) -> None:
        """`system1_ticks`: how long after its observation an action acts."""
        self._shield, self.delay_ticks, self._period = shield, system1_ticks, period_ns
        shield.ladder.engage()  # virtual time begins when both systems are ready
        self.reset()

    def reset(self, midway: Midway | None = None) -> None:
        """Start an episode, or go on in the middle of one."""
        self._queue: list[tuple[int, int, Action | Other]] = []
        self._order = itertools.count()
        self._sent: deque[Action] = deque(maxlen=max(1, self.delay_ticks))
        self._commands = deque(() if midway is None else midway.commands, maxlen=2)
        self._shield.reset(tuple(self._commands))
        for action in midway.actions if midway is not None else ():
            # Another clock may have stamped it: here its observation was made at its tick.
            seen = action.stamp.tick * self._period
            self.send(msgspec.structs.replace(action, observation_ns=seen), action.stamp)

    def arrival_ns(self, tick: int) -> int:
        """When what System 1 sends about the observation of `tick` is there."""
        return (tick + self.delay_ticks) * self._period

    def send(self, action: Action, stamp: Stamp) -> None:
        """Put an action under way, under this stamp and the time of its arrival."""
        arrival = self.arrival_ns(stamp.tick)
        stamp = msgspec.structs.replace(stamp, time_ns=arrival)
        sent = msgspec.structs.replace(action, stamp=stamp)
        self._sent.append(sent)
        self.push(arrival, sent)

    def push(self, arrival_ns: int, message: Action | Other) -> None:
        """Put something under way."""
        heapq.heappush(self._queue, (arrival_ns, next(self._order), message))

    def due(self, now_ns: int) -> Iterator[tuple[int, Action | Other]]:
        """Take (time of arrival, what arrived) up to now; actions have then reached the shield."""
        while self._queue and self._queue[0][0] <= now_ns:
            arrival, _, message = heapq.heappop(self._queue)
            if isinstance(message, Action):
                self._shield.offer(message)
            yield arrival, message

    def command(self, stamp: Stamp, seen: Observation) -> Command:
        """What the shield makes of the newest action that is there, and of what is `seen` now."""
        command = self._shield.command(stamp, seen)
        self._commands.append(command.command)
        return command

    def midway(self, session: int, epoch: int) -> Midway:
        """Where the episode stands: enough to go on from here another time."""
        return Midway(session, epoch, tuple(self._sent), tuple(self._commands))
