"""The `Planner` interface: System 2's decision, anytime and interruptible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from dualsys.messages import Guidance, PlanRequest, Thought

Stop = Callable[[], bool]

TORCH: Mapping[str, Any] = {"used": "torch", "refused": {}}


def never() -> bool:
    """Nothing more urgent comes up."""
    return False


class Planner(Protocol):
    """Thinks about one request. Pure: no socket, thread or clock.

    `thought` is what is behind the newest guidance, for the log; None where there is nothing.
    `faults` counts, by reason, the requests that came to no guidance, or to it in another way than
    was asked for. `engine` is what a run's header says of the engine that runs its model: which
    one, and why those before it in the list did not; empty for a planner without a model here.

    `think` yields a first valid guidance early and better ones after; the last has `final` set. The
    caller may stop iterating at any time; nothing of an unfinished thought may reach the next one.
    Between two guidances a planner that thinks for long asks `stop()`, and ends when it is true.
    Stamps: tick, epoch and session are the request's; sequence and time are set by the shell.
    """

    thought: Thought | None
    faults: Counter[str]
    engine: Mapping[str, Any]

    def warm_up(self, budget: str) -> None:
        """Make the first thought as quick as the later ones; nothing of it is told or counted."""
        ...

    def think(self, request: PlanRequest, budget: str, stop: Stop = never) -> Iterator[Guidance]:
        """Yield guidance for `request`; `budget` is "none", "short" or "full"."""
        ...
