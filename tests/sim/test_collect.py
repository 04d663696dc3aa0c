from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dualsys.errors import DualsysError
from dualsys.learning.dataset import Dataset
from dualsys.learning.shards import finalise, mark_failed, shard_folder, write_shard
from sim.collect import BurstNoise, Job, Noise, collect, record
from tests.fakes import SPEC, PointExpert, PointWorld

NOISE = Noise(0.0, (0.3, 0.3), 0.2)
JOB = Job("", "fake/point", (), NOISE, 2, 100, False)


def test_the_label_is_the_clean_action_of_the_state_that_was_seen(tmp_path: Path) -> None:
    world = PointWorld()
    episode = record(world, PointExpert(world), 1_000_003, JOB)
    state = episode.columns["observation.state"]
    np.testing.assert_allclose(
        episode.columns["action"], np.clip(-4 * state, -1, 1), rtol=1e-5, atol=1e-6
    )
    assert np.abs(episode.columns["action.executed"] - episode.columns["action"]).max() > 0.01
    moved = np.diff(state, axis=0) * SPEC.control_rate_hz
    np.testing.assert_allclose(moved, episode.columns["action.executed"][:-1], atol=1e-5)
    write_shard(tmp_path, episode, SPEC)
    finalise(tmp_path, SPEC)
    assert len(Dataset(tmp_path).action) == len(state)


def test_recording_stops_soon_after_success() -> None:
    world = PointWorld()
    episode = record(world, PointExpert(world), 1_000_003, JOB)
    assert episode.success
    flags = episode.columns["next.success"]
    assert len(flags) - int(flags.argmax()) <= 3


def test_noise_repeats_with_its_seed_and_respects_its_scale() -> None:
    half = np.array([1.0, 2.0])
    one = BurstNoise(Noise(0.0, (0.5, 0.0), 0.5), half, np.random.default_rng(1))
    two = BurstNoise(Noise(0.0, (0.5, 0.0), 0.5), half, np.random.default_rng(1))
    draws = np.array([one.draw() for _ in range(200)])
    np.testing.assert_array_equal(draws, [two.draw() for _ in range(200)])
    assert draws[:, 0].std() > 0.05
    assert not draws[:, 1].any()


def test_evaluation_seeds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DualsysError, match="belong to evaluation"):
        collect(tmp_path, ["driving/merge"], [5], NOISE, 1, 5, 10, False, print)


def test_an_interrupted_collection_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Two real worker processes; the second call records only what is missing."""
    reports: list[int] = []

    def run(seeds: list[int]) -> dict[str, object]:
        return collect(
            tmp_path,
            ["driving/merge"],
            seeds,
            NOISE,
            2,
            5,
            6,
            False,
            lambda report: reports.append(report.episodes),
            episodes_per_job=1,
        )

    run([1_000_000, 1_000_001])
    kept = shard_folder(tmp_path, "driving/merge", 1_000_000) / "ticks.parquet"
    written = kept.stat().st_mtime_ns
    mark_failed(tmp_path, "driving/merge", 1_000_002)
    info = run([1_000_000, 1_000_001, 1_000_002, 1_000_003])
    assert reports == [1, 1, 1]
    assert info["total_episodes"] == 3
    assert kept.stat().st_mtime_ns == written
