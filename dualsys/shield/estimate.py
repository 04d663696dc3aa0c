"""What the shield believes of the plant's state, seen or not."""

from __future__ import annotations

import numpy as np

from dualsys.spec import WorldSpec

VARIED = 0.01  # of an axis' range: commands that differ by more should have moved something


class Estimate:
    """The last plausible state, carried on by the commands since; pure.

    `patience_ns`: for how long a state may stay the same to the last bit while commands differ.
    """

    def __init__(self, spec: WorldSpec, patience_ns: float) -> None:
        self._patience_ns = patience_ns
        self._span = VARIED * (spec.action_high - spec.action_low)
        names = [axis.name for axis in spec.state]
        axes = spec.limits.axes if spec.limits is not None else ()
        # As a state carries them: rounded, an end may lie outside itself.
        self._low = np.array([axis.low for axis in spec.state], np.float32)
        self._high = np.array([axis.high for axis in spec.state], np.float32)
        self._moved = [
            (action, names.index(axis.moves), axis.gain)
            for action, axis in enumerate(axes)
            if axis.moves
        ]
        self.reset()

    def reset(self) -> None:
        """Forget: nothing is known of the state."""
        self.state: np.ndarray | None = None
        self.seen_ns: int | None = None
        self._last: np.ndarray | None = None  # state that came, and since when it is the same
        self._since_ns = 0
        self._commands: list[np.ndarray] = []  # the least and the most of each axis since then

    def see(self, state: np.ndarray, time_ns: int) -> str | None:
        """Take the state (S,) of now, if it can be true; else say why it is not believed.

        "state_unknown": no such state, not finite, out of its range; "state_stuck": the same to
        the last bit for too long, while what was commanded was not.
        """
        fits = state.shape == self._low.shape
        if not (fits and np.all((state >= self._low) & (state <= self._high))):
            return "state_unknown"
        if self._stuck(state, time_ns):
            return "state_stuck"
        self.state, self.seen_ns = state.astype(np.float64), time_ns
        return None

    def _stuck(self, state: np.ndarray, time_ns: int) -> bool:
        if self._last is None or not np.array_equal(state, self._last):
            self._last, self._since_ns, self._commands = state, time_ns, []
        if time_ns - self._since_ns <= self._patience_ns or not self._commands:
            return False
        least, most = self._commands
        return bool(np.any(most - least > self._span))

    def carry(self, command: np.ndarray) -> None:
        """Go on by one tick in which `command` (A,) was in force."""
        known = self._commands or [command, command]
        self._commands = [np.minimum(known[0], command), np.maximum(known[1], command)]
        if self.state is not None:
            self.state = self.state.copy()
            for action, axis, gain in self._moved:
                self.state[axis] += gain * float(command[action])
