"""A planner of somebody else as System 2: what it says is checked, then sent as any other's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import msgspec
import numpy as np

from dualsys.conformity import check_observation, guidance_fault
from dualsys.errors import DualsysError, SpecMismatchError
from dualsys.messages import Guidance, PlanRequest, Thought
from dualsys.spec import WorldSpec
from dualsys.system2.blank import blank_request
from dualsys.system2.planner import Stop, never

REMEDY = "see docs/bring_your_own_planner.md; check_planner tries a planner alone"


class OwnPlanner(Protocol):
    """What a planner of your own has to have. Made once, with (WorldSpec, checkpoint or None)."""

    def think(self, request: PlanRequest, budget: str) -> Iterator[Guidance]:
        """Yield guidance for `request`: a first one early, better ones after, the last `final`.

        `budget` is "none", "short" or "full". It may be left off after any of them, when a newer
        request has come. Nothing yielded means no guidance.
        """
        ...


class ForeignPlanner:
    """Somebody's own planner behind the interface of `Planner`.

    A picture that does not fit the world is not thought about, and counted. Of an own planner
    that has a `thought` it is logged; `faults` counts what the shells count.
    """

    engine: Mapping[str, Any]

    def __init__(self, spec: WorldSpec, own: Any, name: str, source: str) -> None:
        """Raises `DualsysError` for an object that is no planner."""
        require_planner(own, name)
        self._spec, self._own, self._name = spec, own, name
        self.engine = {"used": name, "refused": {}, "from": source}
        self.faults: Counter[str] = Counter()
        self.thought: Thought | None = None

    def warm_up(self, budget: str) -> None:
        """Think about a black picture."""
        for number in range(2):
            for _ in self.think(blank_request(self._spec, number), budget):
                pass
        self.thought = None
        self.faults.clear()

    def think(self, request: PlanRequest, budget: str, stop: Stop = never) -> Iterator[Guidance]:
        """Yield the own planner's guidance; between two of them `stop` is asked.

        Raises `SpecMismatchError` for what is no guidance.
        """
        self.thought = None
        try:
            check_observation(request.observation, self._spec)
        except SpecMismatchError:
            self.faults["foreign_observation"] += 1  # System 1 refuses it with both sides named
            return
        for said in self._own.think(request, budget):
            fault = said_fault(said, self._spec)
            if fault is not None:
                raise SpecMismatchError(f"the planner {self._name} {fault}; {REMEDY}")
            self.thought = getattr(self._own, "thought", None)
            yield msgspec.structs.replace(
                said,
                stamp=request.stamp,
                request_id=request.request_id,
                plan=int(said.plan),  # numpy's numbers do not travel
                value=float(said.value),
                z=said.z.astype(np.float32),
                candidate=said.candidate.astype(np.float32),
            )
            if stop():
                return


def require_planner(own: Any, name: str) -> None:
    """Raise `DualsysError` for an object without the method of a planner."""
    if not callable(getattr(own, "think", None)):
        raise DualsysError(
            f"the planner {name} is a {type(own).__name__} without think(); a planner has "
            f"think(request, budget) -> iterator of Guidance; {REMEDY}"
        )


def said_fault(said: Any, spec: WorldSpec) -> str | None:
    """What is wrong with an answer, in words that name both sides; None if nothing is."""
    if not isinstance(said, Guidance):
        return f"yields {type(said).__name__}, a Guidance was expected (Guidance.of_plan makes one)"
    reason = guidance_fault(said, spec, said.z.size)
    if reason is None:
        return None
    axes = ", ".join(f"{axis.name} {axis.low:g}..{axis.high:g}" for axis in spec.action)
    both = {
        "foreign_plan": f"the plan {said.plan}, the world has 0 to {len(spec.plans) - 1}: "
        f"{', '.join(spec.plans)}",
        "foreign_code": f"a code z of shape {said.z.shape}, expected (Z,)",
        "foreign_candidate": f"a candidate of shape {said.candidate.shape}, expected (T, "
        f"{len(spec.action)})",
        "not_finite": "a code or a candidate with numbers that are not finite",
        "outside_limits": f"a candidate outside of the commands' limits ({axes})",
    }
    return f"says {both[reason]}"
