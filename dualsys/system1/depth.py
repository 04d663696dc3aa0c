"""How many steps of the flow a tick takes: a fixed number, by how unsure it is, or by time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import msgspec

from dualsys.errors import DualsysError, UnknownNameError

RULES = ("fixed", "unsure", "time")
OWN = "own"  # as the network was trained, in one graph: no depth is chosen


class Depth(msgspec.Struct, frozen=True):
    """The choice of a number of Euler steps.

    choices: ascending; "fixed" takes the first. thresholds: entropies of the Laplace head [nat],
    ascending, from each of which on "unsure" takes the next choice. margin_ns: what "time" leaves
    of the tick for all that comes after the flow.
    """

    rule: str
    choices: tuple[int, ...]
    thresholds: tuple[float, ...] = ()
    margin_ns: int = 0

    def check(self) -> None:
        """Raise `DualsysError` for a rule or for numbers that make no sense."""
        if self.rule not in RULES:
            raise UnknownNameError("system1.depth", self.rule, (OWN, *RULES))
        if not _ascending(self.choices) or self.choices[0] < 1:
            raise DualsysError(
                f"system1.depth_steps={list(self.choices)}: give ascending numbers from 1 on"
            )
        if self.rule == "unsure" and (
            len(self.thresholds) != len(self.choices) - 1
            or not all(math.isfinite(value) for value in self.thresholds)
            or not (len(self.choices) == 1 or _ascending(self.thresholds))
        ):
            raise DualsysError(
                f"system1.depth_thresholds={list(self.thresholds)}: between the "
                f"{len(self.choices)} numbers of system1.depth_steps stand {len(self.choices) - 1} "
                "entropies [nat], ascending"
            )
        if self.margin_ns < 0:
            raise DualsysError(
                f"system1.depth_margin_ms={self.margin_ns / 1e6:g} must be zero or more"
            )

    def steps(self, entropy: float, left_ns: int | None, step_ns: int) -> int:
        """The number of steps, where `left_ns` are left (None: nobody waits) and one takes step_ns.

        Where no choice fits into the time, it is the smallest: an answer late is one nevertheless.
        """
        if self.rule == "fixed":
            return self.choices[0]
        if self.rule == "unsure":
            return self.choices[sum(entropy >= value for value in self.thresholds)]
        if left_ns is None:
            return self.choices[-1]
        fitting = [n for n in self.choices if n * step_ns <= left_ns - self.margin_ns]
        return fitting[-1] if fitting else self.choices[0]


def _ascending(values: Sequence[float]) -> bool:
    return len(values) > 0 and all(a < b for a, b in itertools.pairwise(values))
