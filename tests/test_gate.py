from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from dualsys.errors import DualsysError
from dualsys.trigger.acceptance import Acceptance
from dualsys.trigger.gate import SCHEMA, Gate, GateCard, Judged, load_gate, save_gate
from dualsys.trigger.rules import LearnedTrigger
from dualsys.trigger.situation import Situation, feature_names, features
from sim.driving.spec import SPEC

NAMES = ("entropy", "spread")
JUDGED = Judged("driving", 15.0, NAMES, "somewhere", None, 1, 0.0)


def gate(caution: float = 0.0) -> Gate:
    """One whose gain is what the entropy exceeds 1 by, and nothing below.

    On the spread its two members disagree: what the one adds the other takes away.
    """
    arrays = {
        "mean": np.zeros(2, np.float32),
        "std": np.ones(2, np.float32),
        "w1": np.array([[[1.0, 0.0], [0.0, 1.0]]] * 2, np.float32),
        "b1": np.array([[-1.0, 0.0]] * 2, np.float32),
        "w2": np.array([[1.0, 1.0], [1.0, -1.0]], np.float32),
        "b2": np.zeros(2, np.float32),
    }
    return Gate(arrays, GateCard(SCHEMA, JUDGED, caution, {}, {}, {}))


def seen(entropy: float) -> Situation:
    return Situation(entropy, None, np.array([entropy, 0.0], np.float32))


def test_a_call_is_made_when_it_is_worth_its_price() -> None:
    trigger = LearnedTrigger(gate(), 0.5, 3)
    said = [trigger.decide(tick, seen(value)) for tick, value in enumerate((1.4, 1.6, 9, 9, 9))]
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
    assert again.gain(np.array([3.0, 0.0], np.float32)) == pytest.approx(2.0)
    assert again.gain(np.array([99.0, 0.0], np.float32)) == pytest.approx(3.0), "4 deviations count"


def test_a_cautious_gate_counts_for_less_what_its_members_disagree_on() -> None:
    agreed, disputed = (np.array([3.0, spread], np.float32) for spread in (0.0, 0.5))
    assert gate().gain(agreed) == gate().gain(disputed) == pytest.approx(2.0)
    assert gate(2.0).gain(agreed) == pytest.approx(2.0)
    assert gate(2.0).gain(disputed) == pytest.approx(1.0)


def test_a_gate_of_other_features_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DualsysError, match=r"takes 2 features, System 1 gives \(5,\)"):
        gate().gain(np.zeros(5, np.float32))
    with pytest.raises(DualsysError, match="dualsys train gate"):
        load_gate(tmp_path)
    longer = msgspec.structs.replace(JUDGED, features=(*NAMES, "more"))
    card = GateCard(SCHEMA, longer, 0.0, {}, {}, {})
    with pytest.raises(DualsysError, match="card names 3"):
        Gate(gate().arrays, card)


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
