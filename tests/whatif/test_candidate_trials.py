from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from dualsys.errors import DualsysError
from dualsys.learning.dataset import Dataset
from dualsys.learning.returns import returns
from dualsys.whatif.candidate_trials import carry_out, record_trials, trial_seed
from dualsys.whatif.candidates import branches
from dualsys.whatif.junction import Junction
from sim import registry


def test_every_candidate_becomes_an_episode_from_the_same_state(
    thinking_run: Path, tmp_path: Path
) -> None:
    found = branches(thinking_run)[1][:2]
    assert sum(record_trials(tmp_path / "trials", found, 1)) == 2
    dataset = Dataset(tmp_path / "trials")
    named = {trial_seed(b, n): (b, n) for b in found for n in range(5)}
    assert sorted(dataset.episodes["seed"].to_pylist()) == sorted(named)
    first = dataset.episodes["dataset_from_index"].to_numpy()
    length = dataset.episodes["length"].to_numpy()
    for seed, at, ticks in zip(dataset.episodes["seed"].to_pylist(), first, length, strict=True):
        branch, number = named[seed]
        chunk = branch.candidates[number][:ticks]
        np.testing.assert_array_equal(dataset.executed[at : at + ticks], chunk)
        one = named[trial_seed(branch, 0)]
        other = dataset.episodes["seed"].to_pylist().index(trial_seed(*one))
        np.testing.assert_array_equal(dataset.state[at], dataset.state[first[other]])


def test_a_trial_that_ends_with_its_chunk_is_not_taken_for_over(
    thinking_run: Path, tmp_path: Path
) -> None:
    found = branches(thinking_run)[1][:1]
    list(record_trials(tmp_path / "trials", found, 1))
    dataset = Dataset(tmp_path / "trials")
    assert not dataset.terminated.any()
    assert not dataset.done.any()
    _, end = dataset.episode_bounds()
    whole = returns(dataset.reward, end, dataset.terminated, dataset.done, 0.9, 8).monte_carlo
    assert np.isnan(whole).all()


def test_recording_goes_on_where_it_stopped(
    thinking_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = branches(thinking_run)[1][:1]
    root = tmp_path / "trials"
    list(record_trials(root, found, 1))
    before = (root / "meta" / "info.json").stat().st_mtime_ns
    shard = next((root / "staging").glob(f"*/{trial_seed(found[0], 3)}/ticks.parquet"))
    kept = shard.stat().st_mtime_ns
    list(record_trials(root, found, 1))
    assert shard.stat().st_mtime_ns == kept, "what is there is not recorded again"
    assert (root / "meta" / "info.json").stat().st_mtime_ns > before


def test_two_runs_of_one_episode_are_refused(thinking_run: Path, tmp_path: Path) -> None:
    """Their trials would have one name, and the second be skipped."""
    found = branches(thinking_run)[1][:1]
    other = [msgspec.structs.replace(branch, run="runs/other") for branch in found]
    told = rf"driving/merge seed 3 is in {thinking_run} and in runs/other"
    with pytest.raises(DualsysError, match=told):
        list(record_trials(tmp_path / "both", [*found, *other], 1))
    assert not (tmp_path / "both").exists()
    list(record_trials(tmp_path / "one", found, 1))
    with pytest.raises(
        DualsysError, match=r"other settings \(runs: folder .* now \['runs/other'\]"
    ):
        list(record_trials(tmp_path / "one", other, 1))


def test_a_state_that_is_not_reached_gives_no_trial(thinking_run: Path) -> None:
    branch = branches(thinking_run)[1][0]
    onward = np.tile(np.array([5.0, 0.0], np.float32), (400, 1))
    world = registry.make("driving/merge")
    assert carry_out(world, Junction(world, 3, onward), branch, 0) is None
    world.close()
    assert trial_seed(branch, 1) != trial_seed(msgspec.structs.replace(branch, tick=9), 1)
