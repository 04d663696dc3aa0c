"""How many calls to System 2 were useful, neutral or harmful, by what they gained."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from dualsys.console import ranged
from dualsys.statistics import bootstrap_by, wilson

MARGIN = 0.01  # of the score between 0 and 1: a smaller difference is neutral
COLUMNS = ("scenario", "drives", "calls", "useful", "neutral", "harmful", "mean gain")


class Gain(msgspec.Struct, frozen=True):
    """What a call of the drive (scenario, seed) gained, in units of the score."""

    scenario: str
    seed: int
    gain: float


class Mean(msgspec.Struct, frozen=True):
    """A share or a mean over calls, and its 95% interval over drives; None of a single drive."""

    value: float
    ci95: tuple[float, float] | None


class Verdict(msgspec.Struct, frozen=True):
    """What came of the calls of a scenario, or of all ("all")."""

    scenario: str
    drives: int
    calls: int
    useful: Mean
    neutral: Mean
    harmful: Mean
    gain: Mean

    @property
    def cells(self) -> tuple[str, ...]:
        """One line of a table with `COLUMNS`."""
        shares = (
            ranged(share.value, share.ci95, ".1%")
            for share in (self.useful, self.neutral, self.harmful)
        )
        counts = str(self.drives), str(self.calls)
        return (self.scenario, *counts, *shares, ranged(self.gain.value, self.gain.ci95, "+.4f"))


def verdicts(gains: Sequence[Gain]) -> list[Verdict]:
    """Of each scenario, and of all where there are several.

    Calls of one drive are no independent trials: those half a second apart are judged over the same
    seconds. The intervals come of whole drives, drawn anew (cluster bootstrap).
    """
    kinds = list(dict.fromkeys(gain.scenario for gain in gains))
    return [
        _verdict(kind, [gain for gain in gains if kind in (gain.scenario, "all")])
        for kind in ([*kinds, "all"] if len(kinds) > 1 else kinds)
    ]


def _verdict(kind: str, gains: Sequence[Gain]) -> Verdict:
    values = np.array([gain.gain for gain in gains])
    _, drive = np.unique([f"{gain.scenario} {gain.seed}" for gain in gains], return_inverse=True)
    useful, harmful = values > MARGIN, values < -MARGIN
    return Verdict(
        kind,
        int(drive.max()) + 1,
        len(gains),
        _share(drive, useful),
        _share(drive, ~(useful | harmful)),
        _share(drive, harmful),
        _mean(drive, values),
    )


def _mean(drive: np.ndarray, values: np.ndarray) -> Mean:
    several = drive.max() > 0
    return Mean(float(values.mean()), bootstrap_by(drive, values) if several else None)


def _share(drive: np.ndarray, hits: np.ndarray) -> Mean:
    found = _mean(drive, hits.astype(float))
    if found.ci95 is None or found.value not in (0.0, 1.0):
        return found
    # However they are drawn, calls that all came to the same show no spread: an upper end of
    # nothing would be too sure. Drives are counted, each as one trial.
    drives = int(drive.max()) + 1
    low, high = wilson(round(found.value * drives), drives)
    return Mean(found.value, (low, high))
