from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from dualsys.errors import DualsysError, SpecMismatchError
from dualsys.learning.dataset import Dataset
from dualsys.learning.joined import open_datasets
from dualsys.learning.shards import Episode, finalise, settings_guard, write_shard
from tests.fakes import SPEC


def episode(seed: int, ticks: int = 7) -> Episode:
    rng = np.random.default_rng(seed)
    images = []
    for tick in range(ticks):
        image = np.full((16, 16, 3), 30, np.uint8)
        image[:, : 2 * (tick // 2) + 2] = (200, 20 * (seed % 10), 90)
        images.append(image)
    state = (rng.normal(size=2) + 0.05 * rng.normal(size=(ticks, 2))).astype(np.float32)
    columns = {
        "observation.state": state,
        "observation.scene": np.ones((ticks, 3), np.float32),
        "action": -state,
        "action.executed": rng.normal(size=(ticks, 2)).astype(np.float32),
        "plan": np.full(ticks, seed % 2),
        "next.reward": np.zeros(ticks, np.float32),
        "next.done": np.arange(ticks) == ticks - 1,
        "next.success": np.ones(ticks, bool),
    }
    return Episode("fake/point", f"task {seed % 2}", seed, True, columns, {"eye": images})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed, ticks in ((3, 7), (4, 4), (11, 9)):
        write_shard(tmp_path, episode(seed, ticks), SPEC)
    finalise(tmp_path, SPEC)
    return tmp_path


def test_the_layout_is_that_of_lerobot_v3(root: Path) -> None:
    files = {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}
    assert {f for f in files if not f.startswith("staging")} == {
        "data/chunk-000/file-000.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/info.json",
        "meta/stats.json",
        "meta/tasks.parquet",
        "meta/world_spec.json",
        "videos/observation.images.eye/chunk-000/file-000.mp4",
    }
    info = msgspec.json.decode((root / "meta/info.json").read_bytes())
    assert info["codebase_version"] == "v3.0"
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 20, 2)
    assert info["features"]["action"] == {"dtype": "float32", "shape": [2], "names": ["vx", "vy"]}
    assert info["features"]["observation.images.eye"]["dtype"] == "video"


def test_columns_come_back_exactly_and_images_nearly(root: Path) -> None:
    dataset = Dataset(root)
    start, end = dataset.episode_bounds()
    assert sorted(set(zip(start, end, strict=True))) == [(0, 7), (7, 11), (11, 20)]
    originals = [episode(3, 7), episode(4, 4), episode(11, 9)]
    action = np.concatenate([e.columns["action"] for e in originals])
    np.testing.assert_array_equal(dataset.action, action)
    images = np.concatenate([np.stack(e.images["eye"]) for e in originals])
    seen = dataset.frames("eye")[dataset.frame_index("eye")]
    assert seen.shape == images.shape
    assert np.abs(seen.astype(int) - images).mean() < 4


def test_two_processes_can_open_one_dataset_at_once(root: Path) -> None:
    """Each decodes the images into a file of its own: a shared one, cut anew, kills its reader."""
    code = "import sys; from pathlib import Path; from dualsys.learning.dataset import Dataset; "
    code += "input(); print(int(Dataset(Path(sys.argv[1])).frames('eye').sum()))"
    command = [sys.executable, "-c", code, str(root)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    readers = [subprocess.Popen(command, **pipes) for _ in range(3)]
    sums = {reader.communicate("go\n", timeout=120)[0] for reader in readers}
    assert sums == {f"{int(Dataset(root).frames('eye').sum())}\n"}
    assert not list((root / ".cache").glob("*.partial*"))


def test_only_new_images_are_kept_in_the_cache(root: Path) -> None:
    dataset = Dataset(root)
    assert len(dataset.frames("eye")) == 4 + 2 + 5  # period 2: ceil(7/2) + ceil(4/2) + ceil(9/2)
    assert dataset.frame_index("eye")[:5].tolist() == [0, 0, 1, 1, 2]


def test_a_half_written_shard_is_not_part_of_the_dataset(root: Path) -> None:
    partial = root / "staging/fake__point/12.partial"
    partial.mkdir()
    (partial / "ticks.parquet").write_bytes(b"half")
    assert finalise(root, SPEC)["total_episodes"] == 3
    (partial / "about.json").write_bytes(b"{}")  # killed between the last file and the new name
    assert finalise(root, SPEC)["total_episodes"] == 3


def test_other_settings_in_the_same_folder_are_refused_with_both_sides(tmp_path: Path) -> None:
    settings_guard(tmp_path, {"noise": 0.1, "spec": "a"})
    settings_guard(tmp_path, {"noise": 0.1, "spec": "a"})
    with pytest.raises(DualsysError, match=r"noise: folder 0.1, now 0.2"):
        settings_guard(tmp_path, {"noise": 0.2, "spec": "a"})


def test_a_folder_without_a_dataset_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(DualsysError, match="dualsys collect"):
        Dataset(tmp_path)


def test_datasets_are_read_as_one(root: Path, tmp_path: Path) -> None:
    for seed in (7, 8):
        write_shard(tmp_path / "more", episode(seed, 9), SPEC)
    finalise(tmp_path / "more", SPEC)
    first, second = Dataset(root), Dataset(tmp_path / "more")
    both = open_datasets([str(root), str(tmp_path / "more")])
    rows = len(first.state)
    np.testing.assert_array_equal(both.action[rows:], second.action)
    start, end = both.episode_bounds()
    assert start[rows] == rows
    assert end[-1] == len(both.state)
    camera = SPEC.cameras[0].name
    wanted = np.array([0, rows - 1, rows, len(both.state) - 1])
    seen = both.frames(camera)[both.frame_index(camera)[wanted]]
    parts = [data.frames(camera) for data in (first, second)]
    np.testing.assert_array_equal(seen[1], parts[0][-1])
    np.testing.assert_array_equal(seen[2:], parts[1][[0, -1]])
    assert both.info["total_episodes"] == len(first.episodes) + 2


def test_datasets_of_two_worlds_are_not_joined(root: Path, drives: Path) -> None:
    with pytest.raises(SpecMismatchError):
        open_datasets([str(root), str(drives)])
