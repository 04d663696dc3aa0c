"""Whether an observation is worth an answer: what it must hold, and how old its images may be."""

from __future__ import annotations

from dualsys.conformity import check_observation
from dualsys.errors import SpecMismatchError
from dualsys.messages import Observation
from dualsys.spec import WorldSpec


class Senses:
    """Judges observations before System 1 looks at them. Pure.

    A camera that has stopped shows its last picture for ever: nothing but the tick at which it was
    taken tells.
    """

    def __init__(self, spec: WorldSpec, max_age_s: float) -> None:
        self._spec = spec
        self._oldest = {
            camera.name: round(max_age_s * spec.control_rate_hz) + camera.period_ticks
            for camera in spec.cameras
        }
        self.told = ""  # what was wrong with the last one that was refused, in words

    def fault(self, observation: Observation) -> str | None:
        """Why an observation can not be answered, in one word; None if it can."""
        try:
            check_observation(observation, self._spec)
        except SpecMismatchError as error:
            self.told = str(error)
            return "unfit"
        tick = observation.stamp.tick
        for name, oldest in self._oldest.items():
            age = tick - observation.image_ticks.get(name, -1)
            if not 0 <= age <= oldest:
                self.told = (
                    f"the picture of camera {name!r} at tick {tick} is {age} ticks old, "
                    f"{oldest} are allowed (shield.max_observation_age_s)"
                )
                return "camera_stale"
        return None
