"""Whether an answer is used at all: late or worthless advice does more harm than none."""

from __future__ import annotations

import math

import msgspec

from dualsys.errors import DualsysError


class Acceptance(msgspec.Struct, frozen=True):
    """Limits on guidance at the tick of its arrival; None: no limit."""

    latest_ticks: int | None = None  # age of the observation that it is about
    least_value: float | None = None  # of the chosen candidate; guidance without a value passes

    def check(self) -> None:
        """Raise `DualsysError` for limits that would refuse everything."""
        if self.latest_ticks is not None and self.latest_ticks < 1:
            raise DualsysError(
                f"trigger.latest_s must be at least one tick, it is {self.latest_ticks} ticks"
            )
        if self.least_value is not None and not math.isfinite(self.least_value):
            raise DualsysError(f"trigger.least_value must be a number, it is {self.least_value}")

    def refusal(self, age_ticks: int, value: float) -> str | None:
        """Why guidance of this age and value is not used; None if it is. nan: not valued.

        Guidance about a tick that has not been yet (a broken System 2) never is.
        """
        if age_ticks < 0:
            return "from_the_future"
        if self.latest_ticks is not None and age_ticks > self.latest_ticks:
            return "late"
        if self.least_value is not None and value < self.least_value:
            return "low_value"
        return None
