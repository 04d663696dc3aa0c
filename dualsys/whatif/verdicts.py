"""How many calls to System 2 were useful, neutral or harmful, by what they gained."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from dualsys.console import percent
from dualsys.statistics import bootstrap, wilson

MARGIN = 0.01  # of the score between 0 and 1: a smaller difference is neutral
COLUMNS = ("scenario", "calls", "useful", "neutral", "harmful", "mean gain")


class Verdict(msgspec.Struct, frozen=True):
    """What came of the calls of a scenario, or of all ("all"); gains in units of the score."""

    scenario: str
    calls: int
    useful: int
    harmful: int
    gain: float
    gain_ci95: tuple[float, float]

    @property
    def cells(self) -> tuple[str, ...]:
        """One line of a table with `COLUMNS`: shares with Wilson intervals."""
        low, high = self.gain_ci95
        return (
            self.scenario,
            str(self.calls),
            self._share(self.useful),
            self._share(self.calls - self.useful - self.harmful),
            self._share(self.harmful),
            f"{self.gain:+.4f} ({low:+.4f} .. {high:+.4f})",
        )

    def _share(self, count: int) -> str:
        low, high = wilson(count, self.calls)
        return f"{percent(count / self.calls)} ({low:.1%} .. {high:.1%})"


def verdicts(gains: Sequence[tuple[str, float]]) -> list[Verdict]:
    """Of each scenario, and of all where there are several; `gains` holds (scenario, gain)."""
    kinds = list(dict.fromkeys(scenario for scenario, _ in gains))
    found = []
    for kind in [*kinds, "all"] if len(kinds) > 1 else kinds:
        mine = np.array([gain for scenario, gain in gains if kind in (scenario, "all")])
        useful, harmful = int((mine > MARGIN).sum()), int((mine < -MARGIN).sum())
        found.append(Verdict(kind, len(mine), useful, harmful, float(mine.mean()), bootstrap(mine)))
    return found
