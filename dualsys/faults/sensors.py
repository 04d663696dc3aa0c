"""Faults of the cameras and of the state: what the plant's sensors say instead of the truth."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec
import numpy as np

from dualsys.faults.fault import LATE_S, Fault, Timetable
from dualsys.messages import Observation
from dualsys.spec import WorldSpec

Images = tuple[dict[str, np.ndarray], dict[str, int]]  # with the ticks at which they were taken


class SensorFaults:
    """Turns what the world shows into what System 1 and the shield get to see."""

    def __init__(self, faults: Sequence[Fault], spec: WorldSpec) -> None:
        self._camera, self._state = Timetable(faults, "camera"), Timetable(faults, "state")
        self._spec = spec
        late = max(1, round(LATE_S * spec.control_rate_hz))
        self._images: deque[Images] = deque(maxlen=late + 1)  # the last second, oldest first
        self._states: deque[np.ndarray] = deque(maxlen=late + 1)
        self._held_images: Images | None = None
        self._held_state: np.ndarray | None = None

    def seen(self, observation: Observation, since_s: float | None) -> Observation:
        """The observation with the faults in force at `since_s`."""
        self._images.append((observation.images, observation.image_ticks))
        self._states.append(observation.state)
        images, ticks = self._camera_says(since_s)
        state = self._state_says(since_s)
        return msgspec.structs.replace(observation, images=images, image_ticks=ticks, state=state)

    def _camera_says(self, since_s: float | None) -> Images:
        kind, (images, ticks) = self._camera.kind(since_s), self._images[-1]
        if kind not in ("stuck", "slow"):
            self._held_images = None
        if kind is None:
            return images, ticks
        if self._camera.gone(since_s):
            return {}, {}
        if kind == "garbage":
            rng = self._camera.rng(since_s)
            return {name: rng.integers(0, 256, 7, np.uint8) for name in images}, ticks
        if kind == "wrong":
            return {name: np.ascontiguousarray(im[:, ::-1]) for name, im in images.items()}, ticks
        if kind == "delayed":
            return self._images[0]
        if kind == "intermittent":
            return images, ticks
        return self._held(kind)

    def _held(self, kind: str) -> Images:
        """The images that a stuck camera shows for ever, and a slow one for a second."""
        newest = self._images[-1]
        if self._held_images is None or (
            kind == "slow" and self._held_images is self._images[0] is not newest
        ):
            self._held_images = newest
        return self._held_images

    def _state_says(self, since_s: float | None) -> np.ndarray:
        kind, state = self._state.kind(since_s), self._states[-1]
        if kind not in ("stuck", "slow"):
            self._held_state = None
        if kind is None:
            return state
        rng = self._state.rng(since_s)
        if self._state.gone(since_s):
            return np.zeros(0, np.float32)
        if kind == "garbage":
            return rng.choice([np.nan, np.inf, -np.inf, 1e30], state.shape).astype(np.float32)
        if kind == "wrong":
            low, high = (np.array([getattr(a, end) for a in self._spec.state], np.float32)
                         for end in ("low", "high"))  # fmt: skip
            return (state + 0.1 * (high - low)).clip(low, high)
        if kind == "delayed":
            return self._states[0]
        if kind == "intermittent":
            return state
        if self._held_state is None or (
            kind == "slow" and self._held_state is self._states[0] is not state
        ):
            self._held_state = state
        return self._held_state
