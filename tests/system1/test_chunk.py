from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.system1.chunk import RunningChunk

UNIT = np.ones(1)


def ramp(first: int, length: int, offset: float = 0.0) -> np.ndarray:
    """Commands whose value is their own tick, so that a shifted index shows."""
    return (np.arange(first, first + length, dtype=np.float32) + offset)[:, None]


@given(
    st.integers(0, 50),
    st.integers(1, 16),
    st.integers(0, 20),
    st.integers(1, 16),
    st.integers(0, 4),
)
def test_a_late_chunk_drops_exactly_the_ticks_that_have_passed(
    first: int, length: int, delay: int, other: int, blend: int
) -> None:
    chunk = RunningChunk(blend, UNIT)
    chunk.splice(ramp(first, length), first, first)
    now = first + delay
    chunk.splice(ramp(first + 1, other), first + 1, now)
    for tick in range(now, now + 40):
        command = chunk.at(tick)
        inside = first + 1 <= tick < first + 1 + other
        assert (command is not None) == inside
        # Both chunks command the tick's own number, so does every blend of them.
        assert command is None or abs(float(command[0]) - tick) < 1e-4


def test_the_seam_is_blended_and_its_jump_is_recorded() -> None:
    chunk = RunningChunk(3, UNIT)
    chunk.splice(np.zeros((8, 1)), 0, 0)
    chunk.splice(np.ones((8, 1)), 2, 2)
    assert [float(chunk.at(tick)[0]) for tick in range(2, 7)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert (chunk.seams, chunk.seam_jump) == (1, 1.0)


@pytest.mark.parametrize("blend", [0, 2])
def test_a_jump_is_a_share_of_the_range_of_its_axis_blended_or_not(blend: int) -> None:
    chunk = RunningChunk(blend, np.array([10.0, 0.5]))
    chunk.splice(np.zeros((6, 2)), 0, 0)
    chunk.splice(np.tile([1.0, 0.1], (6, 1)), 2, 4)
    assert chunk.seam_jump == pytest.approx(0.2), "the second axis jumps by more"
    chunk.splice(np.ones((6, 2)), 20, 20)
    assert chunk.seams == 1, "no chunk ran any more"


def test_a_reset_forgets_the_chunk() -> None:
    chunk = RunningChunk(0, UNIT)
    chunk.splice(np.ones((4, 1)), 0, 0)
    chunk.reset()
    assert chunk.at(1) is None
    assert len(chunk.ahead(0)) == 0
