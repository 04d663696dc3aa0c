"""The planner contract as an executable check: run it on one of your own before anything else."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from dualsys.errors import SpecMismatchError
from dualsys.messages import Guidance, PlanRequest, Stamp
from dualsys.spec import WorldSpec
from dualsys.system2.blank import blank_request
from dualsys.system2.foreign import REMEDY, require_planner, said_fault
from dualsys.system2.questions import BUDGETS


def check_planner(planner: Any, spec: WorldSpec, requests: int = 3) -> None:
    """Raise `DualsysError` at the first clause of the contract that `planner` breaks.

    Checked, for every budget, on pictures of noise: what is yielded is guidance that fits the
    world; the last one is final, and no other; equal requests get equal answers, also after others,
    and after a thought that was left off in the middle. A planner may yield nothing to some
    requests, not to all.
    """
    name = type(planner).__name__
    require_planner(planner, name)
    answered = 0
    for budget in BUDGETS:
        asked = [drawn_request(spec, number, budget) for number in range(requests)]
        first = [_thought(planner, spec, name, request, budget) for request in asked]
        for request in asked:
            next(iter(planner.think(request, budget)), None)  # and left off
        second = [_thought(planner, spec, name, request, budget) for request in asked]
        for number, (one, two) in enumerate(zip(first, second, strict=True)):
            if not _same(one, two):
                raise SpecMismatchError(
                    f"the planner {name} answers request {number} (budget {budget}) in two ways; "
                    "let every thought start from its own request, and draw from its stamp"
                )
        answered += sum(map(len, first))
    if not answered:
        raise SpecMismatchError(
            f"the planner {name} yields nothing to any of {len(BUDGETS) * requests} requests; "
            f"{REMEDY}"
        )


def drawn_request(spec: WorldSpec, number: int, budget: str) -> PlanRequest:
    """A request about pictures of noise; every other one shows what System 1 is about to do."""
    rng = np.random.default_rng((number, 5))
    blank = blank_request(spec, number)
    images = {
        name: rng.integers(0, 256, image.shape, dtype=np.uint8)
        for name, image in blank.observation.images.items()
    }
    for image in images.values():
        image.flags.writeable = False  # as those that come over a link
    seen = msgspec.structs.replace(
        blank.observation,
        stamp=Stamp(1, 0, number + 1, number, number * spec.period_ns),
        images=images,
        instruction="do what is asked",
    )
    samples = np.repeat(blank.samples, 16, axis=1)[: number % 2]
    return PlanRequest(seen.stamp, number + 1, seen, samples, "check", math.nan, budget)


def _thought(
    planner: Any, spec: WorldSpec, name: str, request: PlanRequest, budget: str
) -> list[Guidance]:
    said = []
    for guidance in planner.think(request, budget):
        fault = said_fault(guidance, spec)
        if fault is not None:
            raise SpecMismatchError(f"the planner {name} {fault}; {REMEDY}")
        said.append(guidance)
    finals = [guidance.final for guidance in said]
    if said and finals != [False] * (len(said) - 1) + [True]:
        raise SpecMismatchError(
            f"the planner {name} yields guidance with final={finals} (budget {budget}); the last "
            "one has to be final, and no other"
        )
    return said


def _same(one: list[Guidance], two: list[Guidance]) -> bool:
    return len(one) == len(two) and all(
        a.plan == b.plan and np.array_equal(a.z, b.z) and np.array_equal(a.candidate, b.candidate)
        for a, b in zip(one, two, strict=True)
    )
