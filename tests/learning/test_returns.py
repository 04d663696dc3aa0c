from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.learning.returns import Returns, returns

EPISODE = st.tuples(
    st.lists(st.floats(-2, 2), min_size=1, max_size=12),
    st.booleans(),
)


def of(episodes: list[tuple[list[float], bool]], gamma: float, horizon: int) -> Returns:
    lengths = [len(rewards) for rewards, _ in episodes]
    end = np.repeat(np.cumsum(lengths), lengths)
    terminated = np.concatenate([[*[False] * (len(r) - 1), over] for r, over in episodes])
    reward = np.array([value for rewards, _ in episodes for value in rewards])
    done = np.concatenate([[*[False] * (len(r) - 1), True] for r, _ in episodes])
    return returns(reward, end, terminated, done, gamma, horizon)


@given(st.lists(EPISODE, min_size=1, max_size=4), st.floats(0.5, 0.99), st.integers(1, 15))
def test_monte_carlo_is_the_sum_of_all_that_follows(
    episodes: list[tuple[list[float], bool]], gamma: float, horizon: int
) -> None:
    found = of(episodes, gamma, horizon).monte_carlo
    row = 0
    for rewards, over in episodes:
        for start in range(len(rewards)):
            following = rewards[start:] + ([] if over else [rewards[-1]] * 4000)
            wanted = sum(gamma**k * value for k, value in enumerate(following))
            assert found[row] == pytest.approx(wanted, abs=1e-6)
            row += 1


@given(st.lists(EPISODE, min_size=1, max_size=4), st.floats(0.5, 0.99), st.integers(1, 15))
def test_a_chunk_and_what_follows_it_are_the_whole(
    episodes: list[tuple[list[float], bool]], gamma: float, horizon: int
) -> None:
    found = of(episodes, gamma, horizon)
    joined = found.chunk + found.bootstrap * found.monte_carlo[found.after]
    np.testing.assert_allclose(joined, found.monte_carlo, atol=1e-6)


def test_nothing_follows_a_terminated_episode() -> None:
    found = of([([1.0, 1.0, 1.0], True)], 0.9, 2)
    np.testing.assert_allclose(found.bootstrap, [0.81, 0.0, 0.0])
    np.testing.assert_allclose(found.chunk, [1.9, 1.9, 1.0])


def test_a_truncated_episode_goes_on() -> None:
    found = of([([1.0, 1.0, 1.0], False)], 0.9, 2)
    np.testing.assert_allclose(found.after, [2, 2, 2])
    np.testing.assert_allclose(found.monte_carlo, 10.0)


def test_a_discount_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        of([([1.0], True)], 1.0, 2)


def test_what_was_not_followed_to_its_end_has_no_whole_return() -> None:
    reward, end = np.array([1.0, 2.0, 3.0, 5.0]), np.array([3, 3, 3, 4])
    done, terminated = np.array([False, False, False, True]), np.zeros(4, bool)
    found = returns(reward, end, terminated, done, 0.5, 2)
    assert np.isnan(found.monte_carlo[:3]).all()
    assert found.monte_carlo[3] == pytest.approx(10.0)
    assert found.chunk[0] == pytest.approx(2.0)
    assert (found.after[0], found.bootstrap[0]) == (2, 0.25)
