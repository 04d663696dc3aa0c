"""What the shield believes of the plant's state while it can not be seen."""

from __future__ import annotations

import numpy as np

from dualsys.spec import WorldSpec


class Estimate:
    """The last plausible state, carried on by the commands since; pure."""

    def __init__(self, spec: WorldSpec) -> None:
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

    def see(self, state: np.ndarray, time_ns: int) -> bool:
        """Take the state (S,) of now, if it can be true: a state, finite and in its range."""
        fits = state.shape == self._low.shape
        if not (fits and np.all((state >= self._low) & (state <= self._high))):
            return False
        self.state, self.seen_ns = state.astype(np.float64), time_ns
        return True

    def carry(self, command: np.ndarray) -> None:
        """Go on by one tick in which `command` (A,) was in force."""
        if self.state is not None:
            self.state = self.state.copy()
            for action, axis, gain in self._moved:
                self.state[axis] += gain * float(command[action])
