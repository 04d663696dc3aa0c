from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dualsys.system2.coding import coarser, entropy_bits, measured_bits, message_bits, name_of

CODES = arrays(np.float32, (5, 8), elements=st.floats(-1, 1, width=32))


@given(CODES, st.integers(2, 9))
def test_a_coarser_code_lies_on_its_grid_and_nearby(code: np.ndarray, levels: int) -> None:
    found = coarser(code, levels)
    steps = (found + 1) * (levels - 1) / 2
    np.testing.assert_allclose(steps, steps.round(), atol=1e-5)
    assert (np.abs(found) <= 1 + 1e-6).all()
    assert np.abs(found - code).max() <= 1 / (levels - 1) + 1e-5
    np.testing.assert_array_equal(coarser(found, levels), found)


@given(CODES, st.integers(2, 9))
def test_order_survives(code: np.ndarray, levels: int) -> None:
    flat = np.sort(code.ravel())
    assert (np.diff(coarser(flat, levels)) >= 0).all()


def test_one_level_is_no_code() -> None:
    with pytest.raises(ValueError, match="at least two levels"):
        coarser(np.zeros(8), 1)


def test_measured_bits_are_the_entropy_of_what_is_sent() -> None:
    same, two = np.zeros((64, 8)), np.zeros((64, 8))
    two[32:, 3] = 1
    assert measured_bits(same) == 0.0
    assert measured_bits(two) == pytest.approx(1.0)
    assert entropy_bits([1] * 16) == pytest.approx(4.0)
    assert entropy_bits([]) == 0.0


def test_equal_messages_have_equal_names() -> None:
    one, other = np.array([-1, 1 / 3], np.float32), np.array([-1, -1 / 3], np.float32)
    assert name_of(0, one) == name_of(0, one.copy()) != name_of(0, other)
    assert name_of(0, one) != name_of(1, one)


def test_the_bits_of_plan_and_code_are_told_apart() -> None:
    none, up, down = np.zeros(0), np.ones(1), -np.ones(1)
    plans_alone = {name_of(plan, none): 5 for plan in range(4)}
    assert message_bits(plans_alone) == {"bits": 2.0, "plan_bits": 2.0, "code_bits": 0.0}
    both = {name_of(plan, code): 3 for plan in range(2) for code in (up, down)}
    assert message_bits(both) == {"bits": 2.0, "plan_bits": 1.0, "code_bits": 1.0}
    told_by_the_plan = {name_of(0, up): 3, name_of(1, down): 3}
    assert message_bits(told_by_the_plan)["code_bits"] == 0.0, "the code says nothing more"
    assert message_bits({}) == {"bits": 0.0, "plan_bits": 0.0, "code_bits": 0.0}
