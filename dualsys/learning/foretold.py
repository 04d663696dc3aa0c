"""What every plan would come to, foretold from the simulator's state: a model of tried plans.

Trying plans out costs seconds a state, foretelling them microseconds. Extremely randomised trees
(Geurts et al. 2006) on state and scene; for training and as a reference, for no camera sees that.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from dualsys.errors import DualsysError
from dualsys.learning.joined import open_datasets
from dualsys.messages import PlanRequest
from dualsys.spec import WorldSpec, require_same
from dualsys.system2.traffic import TrafficRule
from dualsys.whatif.plan_scores import load_scores
from sim.driving.terms import WEIGHTS

TREES, LEAF = 300, 3
MARGIN = 0.03  # what a plan must be foretold to gain over the traffic rules' to be preferred


class PlanWorth:
    """Foretells what each plan gains over the mean of all plans.

    state (N, S), scene (N, rows x fields) and scores (N, P) are of the states in which all plans
    were tried.
    """

    def __init__(
        self, spec: WorldSpec, state: np.ndarray, scene: np.ndarray, scores: np.ndarray
    ) -> None:
        from sklearn.ensemble import ExtraTreesRegressor

        self._spec, self._rule = spec, TrafficRule(spec)
        self._trees = ExtraTreesRegressor(TREES, min_samples_leaf=LEAF, random_state=0, n_jobs=1)
        self._trees.fit(_features(state, scene), scores - scores.mean(1, keepdims=True))

    def gains(self, state: np.ndarray, scene: np.ndarray) -> np.ndarray:
        """Gains (N, P) in states (N, S) with scenes (N, rows x fields)."""
        found: np.ndarray = self._trees.predict(_features(state, scene))
        return found

    def plans(self, state: np.ndarray, scene: np.ndarray) -> np.ndarray:
        """Plans int (N,): those of the traffic rules, but where another is foretold to gain more.

        In most states no plan changes anything; what is said there should still make sense.
        """
        gains = self.gains(state, scene)
        usual = np.array([self._usual(s, c) for s, c in zip(state, scene, strict=True)], int)
        best = gains.argmax(1)
        each = np.arange(len(gains))
        return np.where(gains[each, best] > gains[each, usual] + MARGIN, best, usual)

    def _usual(self, state: np.ndarray, scene: np.ndarray) -> int:
        said, _ = self._rule.judge(state, scene.reshape(self._spec.scene_rows, -1))
        return self._spec.plans.index(said)


class ForetoldRule:
    """Names the plan that is foretold to be best: what a planner that saw everything could do."""

    def __init__(self, worth: PlanWorth, spec: WorldSpec) -> None:
        self._worth, self._plans = worth, spec.plans

    def choose(self, request: PlanRequest) -> tuple[str, str]:
        """Return (plan, reason) for the observation of a request."""
        seen = request.observation
        plan = self._worth.plans(seen.state[None], seen.scene.reshape(1, -1))[0]
        return self._plans[plan], "foretold from what was tried"


@functools.lru_cache(maxsize=1)  # a worker has many jobs, and the trees take seconds
def foretold_rule(file: Path, spec: WorldSpec) -> ForetoldRule:
    """A rule from the scores in `file` (launch/try_plans.py) and the dataset that it names.

    Raises `DualsysError` when they are not there or are of another world.
    """
    scores = load_scores(file)
    dataset = open_datasets(scores.data)
    require_same(spec, dataset.spec, "the world", f"the plans tried in {scores.data}")
    rows = np.array(scores.rows)
    if not len(rows):
        raise DualsysError(f"{file} holds no tried state; run launch/try_plans.py to its end")
    given = dataset.state[rows], dataset.scene[rows], scores.scores(WEIGHTS)
    return ForetoldRule(PlanWorth(spec, *given), spec)


def _features(state: np.ndarray, scene: np.ndarray) -> np.ndarray:
    return np.concatenate([state, scene.reshape(len(state), -1)], 1)
