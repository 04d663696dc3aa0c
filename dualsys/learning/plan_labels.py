"""The high-level plans that System 2 learns to say: recorded ones, the rules', or foretold ones.

Demonstrations name the manoeuvre that the expert is in, guided runs the plan that System 1 had,
up to a second old. The rules, asked at every tick, say one thing for one scene; what was tried in
the simulator says where another plan is better than theirs.
"""

from __future__ import annotations

import numpy as np

from dualsys.errors import UnknownNameError
from dualsys.learning.foretold import PlanWorth
from dualsys.learning.joined import JoinedDataset
from dualsys.system2.traffic import TrafficRule

SOURCES = ("recorded", "rules")


def label_plans(
    dataset: JoinedDataset, source: str, rows: np.ndarray, worth: PlanWorth | None = None
) -> None:
    """Put the plans of `source` into `dataset.plan` at `rows`, where they differ from the recorded.

    Where plans were tried out, their `worth` gives a third source, "foretold". Outside driving the
    instruction decides the plan, and the record is right. Raises `UnknownNameError` for a source
    that is none.
    """
    known = SOURCES if worth is None else (*SOURCES, "foretold")
    if source not in known:
        raise UnknownNameError("plan labels", source, known)
    spec = dataset.spec
    if source == "recorded" or spec.domain != "driving":
        return
    rule = TrafficRule(spec)
    plan = dataset.plan.copy()
    if worth is not None and source == "foretold":
        plan[rows] = worth.plans(dataset.state[rows], dataset.scene[rows])
        dataset.plan = plan
        return
    for row in rows:
        scene = dataset.scene[row].reshape(spec.scene_rows, -1)
        plan[row] = spec.plans.index(rule.judge(dataset.state[row], scene)[0])
    dataset.plan = plan
