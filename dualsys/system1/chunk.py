"""The running action chunk: indexed by tick, joined to its successor without a jump.

Every action belongs to an absolute control tick. On arrival of a new chunk exactly the ticks that
have passed are dropped, and over the next `blend_ticks` the old chunk fades into the new one.
"""

from __future__ import annotations

import numpy as np


class RunningChunk:
    """Holds the commands for the ticks ahead; pure, knows no clock.

    span (A,): the range of each command axis, the unit of the seam jumps.
    """

    def __init__(self, blend_ticks: int, span: np.ndarray) -> None:
        self._blend_ticks, self._span = blend_ticks, span
        self._commands: np.ndarray | None = None
        self._first_tick = 0
        self.seams, self._jumped = 0, 0.0

    def reset(self) -> None:
        """Forget the chunk (new episode)."""
        self._commands = None
        self.seams, self._jumped = 0, 0.0

    @property
    def seam_jump(self) -> float:
        """Mean seam jump since the reset, 0 without any seam; a sum, so that it never grows."""
        return self._jumped / max(1, self.seams)

    def splice(self, commands: np.ndarray, first_tick: int, now_tick: int) -> None:
        """Take `commands` (T, A) for the ticks from `first_tick` on, blended in from `now_tick`.

        Counts the seam jump: the largest change of the command at `now_tick` that an unblended
        switch makes, as a share of the axis' range.
        """
        fresh = np.array(commands, np.float32)
        before = self.at(now_tick)
        if before is not None and 0 <= now_tick - first_tick < len(fresh):
            change = np.abs(fresh[now_tick - first_tick] - before) / self._span
            self.seams += 1
            self._jumped += float(change.max())
        for tick in range(now_tick, now_tick + self._blend_ticks):
            old = self.at(tick)
            row = tick - first_tick
            if old is None or not 0 <= row < len(fresh):
                break
            weight = (tick - now_tick + 1) / (self._blend_ticks + 1)
            fresh[row] = (1 - weight) * old + weight * fresh[row]
        self._commands, self._first_tick = fresh, first_tick

    def at(self, tick: int) -> np.ndarray | None:
        """Command (A,) for `tick`, or None when the chunk does not reach it."""
        row = tick - self._first_tick
        if self._commands is None or not 0 <= row < len(self._commands):
            return None
        command: np.ndarray = self._commands[row]
        return command

    def ahead(self, tick: int) -> np.ndarray:
        """Commands (T, A) from `tick` on; T is 0 when the chunk does not reach it."""
        if self._commands is None:
            return np.zeros((0, 0), np.float32)
        return self._commands[max(0, tick - self._first_tick) :]
