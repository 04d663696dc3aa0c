from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from dualsys.errors import DualsysError
from dualsys.whatif.value_trials import Job, Trial, gathered, jobs_of, rankings_of, work

TRIAL = Trial(states=2, seed=0, gamma_per_s=0.8, horizon_s=0.5, cascade=False)


def test_a_state_that_is_not_reached_is_left_out_and_counted(thinking_run: Path) -> None:
    (job,) = jobs_of([thinking_run], TRIAL)
    first, second = job.branches
    onward = np.tile(np.array([5.0, 0.0], np.float32), (400, 1))
    over = msgspec.structs.replace(second, tick=400, commands=onward)
    job = msgspec.structs.replace(job, branches=(over, first))
    found = work(job)
    assert found[0] is None
    assert found[1] is not None
    assert len(found[1]) == 6, "the plan alone and five candidates"
    trials = gathered([job], [found])
    assert trials.unreached == 1
    assert trials.alone == {"driving/merge": [found[1][0]]}
    assert trials.pairs == {"driving/merge": [(first.values.tolist(), found[1][1:])]}
    assert rankings_of(trials)["driving/merge"].states == 1
    with pytest.raises(DualsysError, match="none of the 2 states was reached again"):
        gathered([job], [[None, None]])


def test_worlds_share_the_spread_as_their_unit(thinking_run: Path) -> None:
    """Returns ten times as large in one world weigh no more in the ranking of all."""
    (job,) = jobs_of([thinking_run], TRIAL)
    other = msgspec.structs.replace(job, scenario="driving/highway")
    rng = np.random.default_rng(0)
    returns = rng.normal(size=(2, 6))
    found = [returns.tolist(), (10 * returns).tolist()]
    jobs: list[Job] = [job, other]
    rankings = rankings_of(gathered(jobs, found))
    merge, highway = rankings["driving/merge"], rankings["driving/highway"]
    assert highway.argmax_gain == pytest.approx(10 * merge.argmax_gain)
    spread = (returns[:, 1:] - returns[:, 1:].mean(1, keepdims=True)).std()
    assert rankings["all (gain in spreads)"].argmax_gain == pytest.approx(
        merge.argmax_gain / spread
    )
