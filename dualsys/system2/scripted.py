"""The scripted planner: knows the task and the traffic rules; the reference for tests, for ever.

Manipulation: the instruction names the skill. Driving: lane and speed intent by IDM and MOBIL on
the object list of the request (see `dualsys.system2.traffic`). It proposes no candidates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from dualsys.errors import DualsysError
from dualsys.messages import Guidance, PlanRequest, Thought
from dualsys.spec import WorldSpec
from dualsys.system2.planner import Stop, never


class Rule(Protocol):
    """Names the plan for a request, with a sentence that says why."""

    def choose(self, request: PlanRequest) -> tuple[str, str]:
        """Return (plan of the vocabulary, reason)."""
        ...


class InstructionRule:
    """Looks the instruction up: each known sentence stands for one plan."""

    def __init__(self, plans: Mapping[str, str]) -> None:
        self._plans = dict(plans)

    def choose(self, request: PlanRequest) -> tuple[str, str]:
        """Return the plan of the instruction. Raises `DualsysError` for an unknown sentence."""
        instruction = request.observation.instruction
        if instruction not in self._plans:
            raise DualsysError(
                f"the scripted planner knows no plan for the instruction {instruction!r}; "
                f"it knows: {sorted(self._plans)}"
            )
        return self._plans[instruction], f"the instruction is: {instruction}"


class AnyPlanRule:
    """Names any plan, each as often as the others; at one tick of an episode always the same.

    The control of a comparison, and what System 1 learns from to do as it is told.
    """

    def __init__(self, plans: Sequence[str]) -> None:
        self._plans = plans

    def choose(self, request: PlanRequest) -> tuple[str, str]:
        """Return the plan drawn for the request."""
        # Not the session: it tells where files lie, and a plan must not hang on that.
        seed = (request.stamp.epoch, request.stamp.tick, 3)
        number = int(np.random.default_rng(seed).integers(len(self._plans)))
        return self._plans[number], "drawn at random"


class ScriptedPlanner:
    """One guidance per request: the plan of its rule, without candidate or value."""

    def __init__(self, spec: WorldSpec, rule: Rule) -> None:
        self._spec, self._rule = spec, rule
        self.thought: Thought | None = None
        self.faults: Counter[str] = Counter()
        self.engine: Mapping[str, Any] = {}

    def warm_up(self, budget: str) -> None:
        """A rule is always warm."""

    def think(self, request: PlanRequest, budget: str, stop: Stop = never) -> Iterator[Guidance]:
        """Yield the one and final guidance; a rule needs no budget, and no interruption."""
        plan, reason = self._rule.choose(request)
        number, axes = self._spec.plans.index(plan), len(self._spec.action)
        told = f"{plan}: {reason}"
        yield Guidance.of_plan(request.stamp, request.request_id, number, axes, told)
