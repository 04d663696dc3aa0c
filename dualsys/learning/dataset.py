"""Demonstrations on disk in the LeRobotDataset v3.0 layout: parquet + mp4, tasks, stats, episodes.

Several episodes share a file (see `shards.finalise`, which writes it). `Dataset` reads it for
training: columns as arrays, images through a decoded cache that is built once.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dualsys.errors import DualsysError
from dualsys.learning.preparation import Told, quiet
from dualsys.spec import CameraSpec, WorldSpec

VERSION = "v3.0"
INFO = "meta/info.json"
SPEC = "meta/world_spec.json"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
IMAGE_KEY = "observation.images."
PLAN_AGE = "plan_age"  # column: ticks since the observation that the plan is about, -1 without one


class Dataset:
    """A recorded dataset, read for training. Raises `DualsysError` when `root` holds none."""

    def __init__(self, root: Path, told: Told = quiet) -> None:
        if not (root / INFO).is_file():
            raise DualsysError(
                f"no dataset at {root} ({INFO} is missing); record one with `dualsys collect`"
            )
        self.root = root
        self.info: dict[str, Any] = msgspec.json.decode((root / INFO).read_bytes())
        if self.info["codebase_version"] != VERSION:
            raise DualsysError(
                f"{root} has layout {self.info['codebase_version']}, {VERSION} is read; "
                "collect it again"
            )
        self.spec = msgspec.json.decode((root / SPEC).read_bytes(), type=WorldSpec)
        files = sorted((root / "data").rglob("*.parquet"))
        tables = [pq.read_table(file) for file in files]
        self._columns = {name: [t[name] for t in tables] for name in tables[0].column_names}
        self.state = self._matrix("observation.state")
        self.action = self._matrix("action")
        self.executed = self._matrix("action.executed")
        self.scene = self._matrix("observation.scene")
        self.plan = self._vector("plan")
        # Of plans that were told; in demonstrations plans say what the expert does by itself.
        guided = PLAN_AGE in self._columns
        self.plan_age = self._vector(PLAN_AGE) if guided else np.full(len(self.plan), -1)
        self.reward = self._vector("next.reward").astype(np.float64)
        self.episodes = pq.read_table(root / EPISODES)
        self._told = told

    @property
    def terminated(self) -> np.ndarray:
        """Whether the step from each row terminated its episode (truncation is none), bool (N,)."""
        if "next.terminated" not in self._columns:
            raise DualsysError(
                f"{self.root} does not say which episodes were terminated (the column "
                "next.terminated is missing); collect it again to learn values from it"
            )
        return self._vector("next.terminated")

    @property
    def done(self) -> np.ndarray:
        """Whether the episode ended with the step from each row, bool (N,).

        A last row of which this is false belongs to an episode that was not followed to its end.
        """
        return self._vector("next.done")

    def _vector(self, name: str) -> np.ndarray:
        return np.concatenate([column.to_numpy() for column in self._columns[name]])

    def _matrix(self, name: str) -> np.ndarray:
        rows = [c.combine_chunks() for c in self._columns[name]]
        width = len(rows[0][0])
        flat = [r.flatten().to_numpy(zero_copy_only=False).reshape(-1, width) for r in rows]
        return np.concatenate(flat).astype(np.float32)

    def digest(self) -> str:
        """Digest of what was recorded: every column, the episodes, and the sizes of the videos."""
        total = hashlib.sha256()
        for name in sorted(self._columns):
            total.update(name.encode())
            for column in self._columns[name]:
                flat = column.combine_chunks()
                flat = flat.flatten() if pa.types.is_fixed_size_list(flat.type) else flat
                total.update(flat.to_numpy(zero_copy_only=False).tobytes())
        names = ("scenario", "seed", "success", "length", "tasks")
        told = [self.episodes[name].to_pylist() for name in names]
        told.append([path.stat().st_size for path in sorted(self.root.glob("videos/*/*/*.mp4"))])
        total.update(msgspec.json.encode(told))
        return total.hexdigest()[:12]

    def episode_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """First and one-past-last row of the episode of each row, both int64 (N,)."""
        start = self.episodes["dataset_from_index"].to_numpy()
        end = self.episodes["dataset_to_index"].to_numpy()
        return np.repeat(start, end - start), np.repeat(end, end - start)

    def instructions(self) -> list[str]:
        """The instruction of each row."""
        return self._each_row([tasks[0] for tasks in self.episodes["tasks"].to_pylist()])

    def scenarios(self) -> list[str]:
        """The scenario of each row."""
        return self._each_row(self.episodes["scenario"].to_pylist())

    def drives(self) -> list[tuple[str, int]]:
        """Scenario and seed of each episode."""
        scenarios, seeds = (self.episodes[name].to_pylist() for name in ("scenario", "seed"))
        return list(zip(scenarios, seeds, strict=True))

    def seeds(self) -> np.ndarray:
        """The seed of each row's episode, int64 (N,)."""
        return np.array(self._each_row(self.episodes["seed"].to_pylist()))

    def successes(self) -> np.ndarray:
        """Whether each episode succeeded, bool (E,)."""
        return np.array(self.episodes["success"].to_pylist(), bool)

    def trials(self) -> np.ndarray:
        """Whether each row is of a candidate that was tried out under its plan, bool (N,).

        Such a plan has no age, though the recording keeps ages: in runs they come with every plan,
        and demonstrations keep none.
        """
        return (self.plan >= 0) & (self.plan_age < 0) & (PLAN_AGE in self._columns)

    def _each_row(self, values: list[Any]) -> list[Any]:
        lengths = self.episodes["length"].to_pylist()
        return [value for value, n in zip(values, lengths, strict=True) for _ in range(n)]

    def frame_index(self, camera: str) -> np.ndarray:
        """Row of `frames(camera)` that was the newest image at each tick, int64 (N,)."""
        period = self._camera(camera).period_ticks
        start, _ = self.episode_bounds()
        first = self.episodes["dataset_from_index"].to_numpy()
        counts = -(-(self.episodes["dataset_to_index"].to_numpy() - first) // period)
        base = np.repeat(
            np.cumsum(counts) - counts, self.episodes["dataset_to_index"].to_numpy() - first
        )
        index: np.ndarray = base + (np.arange(len(start)) - start) // period
        return index

    def frames(self, camera: str) -> np.ndarray:
        """Every new image of a camera, uint8 (M, H, W, C), from the decoded cache."""
        key = hashlib.sha256((self.root / INFO).read_bytes()).hexdigest()[:12]
        path = self.root / ".cache" / f"{camera}-{key}.npy"
        if not path.is_file():
            self._decode(camera, path)
        frames: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        return frames

    def _camera(self, name: str) -> CameraSpec:
        return next(camera for camera in self.spec.cameras if camera.name == name)

    def _decode(self, camera: str, path: Path) -> None:
        spec = self._camera(camera)
        key = f"{IMAGE_KEY}{camera}"
        total = int(self.frame_index(camera)[-1]) + 1
        path.parent.mkdir(parents=True, exist_ok=True)
        # Two trainings may open one dataset at once: each decodes into a file of its own.
        partial = path.with_suffix(f".{os.getpid()}.partial.npy")
        shape = (total, spec.height, spec.width, spec.channels)
        frames = np.lib.format.open_memmap(partial, "w+", np.uint8, shape)
        done = 0
        lengths = self.episodes["length"].to_numpy()
        file_of = self.episodes[f"videos/{key}/file_index"].to_numpy()
        for file in np.unique(file_of):
            video = self.root / f"videos/{key}/chunk-000/file-{file:03d}.mp4"
            ticks = np.concatenate([np.arange(n) for n in lengths[file_of == file]])
            for tick, image in zip(ticks, read_video(video), strict=True):
                if tick % spec.period_ticks == 0:
                    frames[done] = image
                    done += 1
            self._told("decoding", done / total)
        frames.flush()
        partial.replace(path)


def read_video(path: Path) -> Any:
    """Yield the frames of a video as uint8 (H, W, 3)."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def write_video(path: Path, images: list[np.ndarray], rate_hz: float) -> None:
    """Write uint8 (H, W, 3) images as H.264 with full colour resolution, one frame an image."""
    with av.open(str(path), "w", format="mp4") as container:
        # 4:4:4 and a low quantiser: at 64 pixels the default subsampling blurs what matters.
        stream = container.add_stream("libx264", rate=round(rate_hz), options={"crf": "10"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv444p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
