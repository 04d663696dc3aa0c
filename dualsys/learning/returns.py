"""Rewards of recorded episodes -> returns of action chunks and Monte-Carlo returns.

Rows of all episodes stand one after the other. What happens to the future is decided by how an
episode ended: a terminated one has none, a truncated one (out of time, stopped after success)
would have gone on, and is taken to go on as it ended; of one that was not followed to its end,
nothing is known beyond the last row.
"""

from __future__ import annotations

import msgspec
import numpy as np


class Returns(msgspec.Struct, frozen=True):
    """Discounted sums of the rewards from each row on; all float64 (N,).

    chunk: over the next H ticks, or to the episode's end; bootstrap: what the value at `after` is
    to be multiplied with (0 when the episode terminated within the chunk); monte_carlo: over the
    whole rest, NaN in an episode that was not followed to its end; after: int64, the row whose
    value continues the chunk. The last row of such an episode has no return of its own: it is only
    there to continue others.
    """

    chunk: np.ndarray
    bootstrap: np.ndarray
    monte_carlo: np.ndarray
    after: np.ndarray


def returns(
    reward: np.ndarray,
    end: np.ndarray,
    terminated: np.ndarray,
    done: np.ndarray,
    gamma: float,
    horizon: int,
) -> Returns:
    """Returns of chunks of `horizon` ticks under the discount `gamma` per tick.

    reward (N,): of the step from each row; end int64 (N,): one past the last row of its episode;
    terminated and done bool (N,): whether the step from that row terminated or otherwise ended the
    episode. Raises `ValueError` for a discount outside (0, 1).
    """
    if not 0 < gamma < 1:
        raise ValueError(f"the discount must lie between 0 and 1, it is {gamma}")
    rows = np.arange(len(reward))
    rest = np.zeros(len(reward) + 1)  # the last one stands for "after the end"
    for row in rows[::-1]:
        ahead = rest[row + 1] if row + 1 < end[row] else 0.0
        rest[row] = reward[row] + gamma * ahead
    final = end - 1
    beyond = rows + horizon
    whole = beyond < end
    chunk = rest[rows] - np.where(whole, gamma**horizon * rest[np.minimum(beyond, len(rows))], 0.0)
    over = terminated[final]
    # The value of a truncated episode's last row continues it: one step before its end.
    steps = np.where(whole, horizon, final - rows)
    after = np.where(whole, beyond, final)
    cut = ~whole & ~over
    chunk = np.where(cut, chunk - gamma**steps * reward[final], chunk)
    bootstrap = np.where(~whole & over, 0.0, gamma ** steps.astype(float))
    bootstrap = np.where(cut & (steps == 0), 0.0, bootstrap)
    tail = np.where(over, 0.0, gamma ** (end - rows).astype(float) * reward[final] / (1 - gamma))
    # A row that is itself the last of a truncated episode has only its tail to learn from.
    chunk = np.where(cut & (steps == 0), reward[final] / (1 - gamma), chunk)
    followed = over | done[final]
    return Returns(chunk, bootstrap, np.where(followed, rest[:-1] + tail, np.nan), after)
