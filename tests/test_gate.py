from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualsys.errors import DualsysError
from dualsys.learning.fit_gate import flattened
from dualsys.trigger.acceptance import Acceptance
from dualsys.trigger.gate import SCHEMA, Gate, GateCard, Judged, gains, load_gate, save_gate
from dualsys.trigger.rules import LearnedTrigger
from dualsys.trigger.situation import Situation, feature_names, features
from sim.driving.spec import SPEC

NAMES = ("entropy", "spread")
JUDGED = Judged("driving", 15.0, NAMES, "somewhere", None, 1, 0.0)


def gate() -> Gate:
    """One tree for the entropy's 1, another for its 2: either worth 2 above; 1 on the average."""
    arrays = {
        "roots": np.array([0, 3], np.int32),
        "feature": np.zeros(6, np.int16),
        "threshold": np.array([1.0, 0, 0, 2.0, 0, 0], np.float32),
        "left": np.array([1, 1, 2, 4, 4, 5], np.int32),
        "right": np.array([2, 1, 2, 5, 4, 5], np.int32),
        "value": np.array([0, 0, 2, 0, 0, 2], np.float32),
        "depth": np.array([1], np.int32),
    }
    return Gate(arrays, GateCard(SCHEMA, JUDGED, {}, {}, {}))


def seen(entropy: float) -> Situation:
    return Situation(entropy, None, np.array([entropy, 0.0], np.float32))


def test_a_call_is_made_when_it_is_worth_its_price() -> None:
    trigger = LearnedTrigger(gate(), 0.5, 3)
    said = [trigger.decide(tick, seen(value)) for tick, value in enumerate((0.9, 1.1, 9, 9, 9))]
    assert said == [None, "worth it", None, None, "worth it"]
    trigger.reset(1)
    assert trigger.decide(0, seen(9)) == "worth it"
    assert LearnedTrigger(gate(), 0.5, 1).decide(0, Situation()) is None, "nothing is known yet"


def test_a_higher_price_never_calls_more() -> None:
    values = np.random.default_rng(0).uniform(0, 4, 300)
    counts = []
    for price in (0.0, 0.5, 1.0, 2.0, 5.0):
        trigger = LearnedTrigger(gate(), price, 1)
        said = [trigger.decide(tick, seen(value)) for tick, value in enumerate(values)]
        counts.append(sum(reason is not None for reason in said))
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 0


def test_a_gate_is_read_as_it_was_written(tmp_path: Path) -> None:
    save_gate(tmp_path, gate())
    again = load_gate(tmp_path)
    assert again.card.judged == JUDGED
    for entropy, gain in ((1.0, 0.0), (1.5, 1.0), (2.0, 1.0), (2.1, 2.0)):
        assert again.gain(np.array([entropy, 0.0], np.float32)) == gain


@given(st.integers(0, 10_000))
@settings(max_examples=20)
def test_the_trees_foretell_what_they_were_grown_to(seed: int) -> None:
    from sklearn.ensemble import ExtraTreesRegressor

    rng = np.random.default_rng(seed)
    x = rng.choice(np.float32([-1.5, 0.1, 0.3, 7.0]), (60, 5)).astype(np.float32)
    y = rng.normal(size=60)
    forest = ExtraTreesRegressor(7, min_samples_leaf=2, random_state=seed).fit(x, y)
    arrays = flattened([tree.tree_ for tree in forest.estimators_])
    others = np.concatenate([x, rng.normal(size=(40, 5)).astype(np.float32)])
    np.testing.assert_allclose(gains(arrays, others), forest.predict(others), atol=1e-6)


def test_a_gate_of_other_features_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DualsysError, match=r"takes 2 features, System 1 gives \(5,\)"):
        gate().gain(np.zeros(5, np.float32))
    with pytest.raises(DualsysError, match="dualsys train gate"):
        load_gate(tmp_path)
    none = msgspec.structs.replace(JUDGED, features=())
    with pytest.raises(DualsysError, match="trees ask for 1 features, its card names 0"):
        Gate(gate().arrays, GateCard(SCHEMA, none, {}, {}, {}))


def test_features_are_as_their_names_say() -> None:
    names = feature_names(SPEC, 2)
    state = np.arange(len(SPEC.state), dtype=np.float32)
    found = dict(
        zip(names, features(SPEC, -1.0, 0.3, 2, 30, state, np.array([7.0, 8.0])), strict=True)
    )
    assert (found["entropy"], found["guided"]) == (-1.0, 1.0)
    assert found["guidance_age_s"] == 2.0
    assert [found[f"plan_{p}"] for p in SPEC.plans] == [0, 0, 1, 0, 0]
    assert (found["state_cruise_speed"], found["perceived_1"]) == (7.0, 8.0)
    alone = features(SPEC, -1.0, 0.3, None, None, state, np.zeros(2))
    assert alone[2:9].tolist() == [0] * 7


def test_late_and_worthless_answers_are_not_used() -> None:
    limits = Acceptance(latest_ticks=10, least_value=0.0)
    assert limits.refusal(10, 0.5) is None
    assert limits.refusal(11, 0.5) == "late"
    assert limits.refusal(3, -0.1) == "low_value"
    assert limits.refusal(3, float("nan")) is None, "not valued"
    assert Acceptance().refusal(1000, -1e9) is None
    for wrong in (Acceptance(0), Acceptance(None, float("nan"))):
        with pytest.raises(DualsysError, match="trigger"):
            wrong.check()
