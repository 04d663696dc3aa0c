"""How deep a tick's flow goes, in steps and in blocks: fixed, by how unsure it is, or by time."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Mapping, Sequence

import msgspec

from dualsys.errors import DualsysError, UnknownNameError

RULES = ("fixed", "unsure", "time")
OWN = "own"  # as the network was trained, in one graph: no depth is chosen
EXITS = "exits.safetensors"  # beside the weights: heads with which a step takes fewer blocks
RECENT = 100  # steps whose slowest is how long one takes


class Effort(msgspec.Struct, frozen=True):
    """So many Euler steps through so many of the flow's blocks."""

    steps: int
    layers: int

    def __str__(self) -> str:
        return f"{self.steps}x{self.layers}"


class Depth(msgspec.Struct, frozen=True):
    """The choice of an effort.

    choices: from the least to the most; "fixed" takes the first. thresholds: entropies of the
    Laplace head [nat], ascending, from each of which on "unsure" takes the next choice. margin_ns:
    what "time" leaves of the tick for all that comes after the flow.
    """

    rule: str
    choices: tuple[Effort, ...]
    thresholds: tuple[float, ...] = ()
    margin_ns: int = 0

    @property
    def layers(self) -> list[int]:
        """How many blocks a step can take, ascending."""
        return sorted({effort.layers for effort in self.choices})

    def check(self) -> None:
        """Raise `DualsysError` for a rule or for numbers that make no sense."""
        if self.rule not in RULES:
            raise UnknownNameError("system1.depth", self.rule, (OWN, *RULES))
        if not _growing(self.choices):
            raise DualsysError(
                f"system1.depth_steps and depth_layers make {[str(e) for e in self.choices]} "
                "(steps x blocks): give numbers from 1 on, and more steps or more blocks each time"
            )
        if self.rule == "unsure" and (
            len(self.thresholds) != len(self.choices) - 1
            or not all(math.isfinite(value) for value in self.thresholds)
            or not all(a < b for a, b in itertools.pairwise(self.thresholds))
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

    def chosen(self, entropy: float, left_ns: int | None, step_ns: Mapping[int, int]) -> Effort:
        """The effort, where `left_ns` are left (None: nobody waits).

        step_ns: by the number of blocks, how long a step takes. Where no choice fits into the
        time, it is the quickest: an answer late is one nevertheless.
        """
        if self.rule == "fixed":
            return self.choices[0]
        if self.rule == "unsure":
            return self.choices[sum(entropy >= value for value in self.thresholds)]
        if left_ns is None:
            return self.choices[-1]
        times = {effort: effort.steps * step_ns[effort.layers] for effort in self.choices}
        fitting = [e for e in self.choices if times[e] <= left_ns - self.margin_ns]
        return fitting[-1] if fitting else min(self.choices, key=lambda effort: times[effort])


def _growing(choices: Sequence[Effort]) -> bool:
    return (
        len(choices) > 0
        and all(effort.steps >= 1 and effort.layers >= 1 for effort in choices)
        and all(a.steps < b.steps or a.layers < b.layers for a, b in itertools.pairwise(choices))
    )


class Pace:
    """How long a step through so many blocks takes: as the slowest of those taken of late.

    Of a number of blocks that none of them took, it is what was seen first: one that was slow once
    would else never be taken, and so never seen to be quick again.
    """

    def __init__(self, first_ns: Mapping[int, int]) -> None:
        self._first = dict(first_ns)
        self._recent: deque[tuple[int, int]] = deque(maxlen=RECENT)

    def took(self, layers: int, ns: int) -> None:
        """Note a step."""
        self._recent.append((layers, ns))

    def step_ns(self) -> dict[int, int]:
        """By the number of blocks."""
        slowest: dict[int, int] = {}
        for layers, ns in self._recent:
            slowest[layers] = max(ns, slowest.get(layers, 0))
        return {**self._first, **slowest}
