"""Recorded episodes as crash-safe shards, and `finalise`, which makes the dataset out of them.

A shard is one episode: a parquet file and one mp4 per camera in `staging/<scenario>/<seed>/`,
renamed into place as a whole. An interrupted collection leaves whole shards only.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dualsys.errors import DualsysError
from dualsys.learning.dataset import EPISODES, IMAGE_KEY, INFO, SPEC, VERSION, write_video
from dualsys.spec import WorldSpec

EPISODES_PER_FILE = 100
# LeRobot's loader reads the tasks with pandas, which finds in here that they are the index.
TASKS_IN_PANDAS = {
    "index_columns": ["task"],
    "column_indexes": [],
    "columns": [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": of, "metadata": None}
        for name, kind, of in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ],
    "pandas_version": "2.0.0",
}


class Episode(msgspec.Struct):
    """One recorded episode; N ticks."""

    scenario: str
    instruction: str
    seed: int
    success: bool
    columns: dict[str, np.ndarray]  # (N, ...) per LeRobot feature name
    images: dict[str, list[np.ndarray]]  # camera -> N images


def settings_guard(root: Path, settings: dict[str, Any]) -> None:
    """Refuse to mix recordings: the folder's settings must equal `settings`."""
    path = root / "staging" / "settings.json"
    text = msgspec.json.format(msgspec.json.encode(settings, order="sorted"), indent=1)
    if not path.is_file():
        if any(path.parent.glob("*/*/about.json")):
            raise DualsysError(f"{root} does not say how it was recorded; use another out=")
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, text)
    elif path.read_bytes() != text:
        theirs = msgspec.json.decode(path.read_bytes())
        keys = sorted(k for k in {*settings, *theirs} if settings.get(k) != theirs.get(k))
        differ = "; ".join(f"{k}: folder {theirs.get(k)}, now {settings.get(k)}" for k in keys)
        raise DualsysError(f"{root} was recorded with other settings ({differ}); use another out=")


def shard_folder(root: Path, scenario: str, seed: int) -> Path:
    """Where the shard of an episode stands once it is whole."""
    return root / "staging" / scenario.replace("/", "__") / f"{seed}"


def write_shard(root: Path, episode: Episode, spec: WorldSpec) -> None:
    """Write one episode; it appears as a whole or not at all."""
    folder = shard_folder(root, episode.scenario, episode.seed)
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for camera, images in episode.images.items():
        write_video(partial / f"{camera}.mp4", images, spec.control_rate_hz)
    columns = {name: _column(array) for name, array in episode.columns.items()}
    pq.write_table(pa.table(columns), partial / "ticks.parquet")
    about = {
        "scenario": episode.scenario,
        "instruction": episode.instruction,
        "seed": episode.seed,
        "success": episode.success,
    }
    _write(partial / "about.json", msgspec.json.encode(about))
    partial.replace(folder)


def mark_failed(root: Path, scenario: str, seed: int) -> None:
    """Remember that this episode was recorded, failed, and is not to be part of the dataset."""
    folder = shard_folder(root, scenario, seed)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "failed", b"")


def finalise(root: Path, spec: WorldSpec) -> dict[str, Any]:
    """Build data/, videos/ and meta/ from all shards and return info.json's content."""
    found = (root / "staging").glob("*/*/about.json")
    # A shard that is not whole yet, of another process or of one that was killed, is no part of it.
    folders = sorted((path for path in found if path.parent.name.isdigit()), key=_shard_order)
    if not folders:
        raise DualsysError(f"no successful episode in {root}/staging; nothing to make a dataset of")
    shards = [(p.parent, msgspec.json.decode(p.read_bytes())) for p in folders]
    build = root / "build.partial"
    shutil.rmtree(build, ignore_errors=True)
    tasks = list(dict.fromkeys(about["instruction"] for _, about in shards))
    rows: list[dict[str, Any]] = []
    tables: list[pa.Table] = []
    for number in range(0, len(shards), EPISODES_PER_FILE):
        part = shards[number : number + EPISODES_PER_FILE]
        file = number // EPISODES_PER_FILE
        start = sum(row["length"] for row in rows)
        made, table = _write_data(build, file, part, number, start, tasks, spec)
        for camera in spec.cameras:
            _join_videos(build, file, camera.name, [folder for folder, _ in part])
        rows += made
        tables.append(table)
    _write_meta(build, rows, tasks, pa.concat_tables(tables), spec)
    info: dict[str, Any] = msgspec.json.decode((build / INFO).read_bytes())
    for name in ("data", "videos", "meta"):  # meta last: a reader begins there
        shutil.rmtree(root / name, ignore_errors=True)
        (build / name).replace(root / name)
    shutil.rmtree(build)
    return info


def _shard_order(path: Path) -> tuple[str, int]:
    return path.parent.parent.name, int(path.parent.name)


def _write_data(
    build: Path,
    file: int,
    shards: list[tuple[Path, dict[str, Any]]],
    first_episode: int,
    first_row: int,
    tasks: list[str],
    spec: WorldSpec,
) -> tuple[list[dict[str, Any]], pa.Table]:
    rows, tables, seconds = [], [], 0.0
    start = first_row
    for offset, (folder, about) in enumerate(shards):
        table = pq.read_table(folder / "ticks.parquet")
        count, episode = len(table), first_episode + offset
        task = tasks.index(about["instruction"])
        ticks = np.arange(count)
        added = {
            "timestamp": (ticks / spec.control_rate_hz).astype(np.float32),
            "frame_index": ticks,
            "episode_index": np.full(count, episode),
            "index": start + ticks,
            "task_index": np.full(count, task),
        }
        for name, values in added.items():
            table = table.append_column(name, pa.array(values))
        tables.append(table)
        end_s = seconds + count / spec.control_rate_hz
        rows.append(_episode_row(episode, start, count, file, seconds, end_s, about, spec))
        start, seconds = start + count, end_s
    joined = pa.concat_tables(tables)
    path = build / f"data/chunk-000/file-{file:03d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(joined, path)
    return rows, joined


def _episode_row(
    episode: int,
    start: int,
    count: int,
    file: int,
    from_s: float,
    to_s: float,
    about: dict[str, Any],
    spec: WorldSpec,
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "episode_index": episode,
        "tasks": [about["instruction"]],
        "length": count,
        "data/chunk_index": 0,
        "data/file_index": file,
        "dataset_from_index": start,
        "dataset_to_index": start + count,
        "meta/episodes/chunk_index": 0,
        "meta/episodes/file_index": 0,
        "seed": about["seed"],
        "scenario": about["scenario"],
        "success": about["success"],
    }
    for camera in spec.cameras:
        key = f"videos/{IMAGE_KEY}{camera.name}"
        row |= {f"{key}/chunk_index": 0, f"{key}/file_index": file}
        row |= {f"{key}/from_timestamp": from_s, f"{key}/to_timestamp": to_s}
    return row


def _join_videos(build: Path, file: int, camera: str, folders: list[Path]) -> None:
    """Append the episodes' packets to one mp4 without decoding them."""
    path = build / f"videos/{IMAGE_KEY}{camera}/chunk-000/file-{file:03d}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4") as joined:
        stream = None
        shift = 0
        for folder in folders:
            with av.open(str(folder / f"{camera}.mp4")) as part:
                source = part.streams.video[0]
                if stream is None:
                    stream = joined.add_stream_from_template(source)
                end = shift
                for packet in part.demux(source):
                    if packet.dts is None or packet.pts is None:
                        continue
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    end = max(end, packet.pts + (packet.duration or 0))
                    packet.stream = stream
                    joined.mux(packet)
                shift = end


def _write_meta(
    build: Path, rows: list[dict[str, Any]], tasks: list[str], table: pa.Table, spec: WorldSpec
) -> None:
    (build / EPISODES).parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), build / EPISODES)
    names = pa.table({"task_index": list(range(len(tasks))), "task": tasks})
    indexed = names.replace_schema_metadata({"pandas": json.dumps(TASKS_IN_PANDAS)})
    pq.write_table(indexed, build / "meta/tasks.parquet")
    _write(build / "meta/stats.json", msgspec.json.encode(_stats(table)))
    _write(build / SPEC, msgspec.json.encode(spec))
    info = {
        "codebase_version": VERSION,
        "robot_type": spec.domain,
        "total_episodes": len(rows),
        "total_frames": len(table),
        "total_tasks": len(tasks),
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 500,
        "fps": round(spec.control_rate_hz),
        "splits": {"train": f"0:{len(rows)}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": _features(table, spec),
    }
    _write(build / INFO, msgspec.json.format(msgspec.json.encode(info), indent=1))


def _features(table: pa.Table, spec: WorldSpec) -> dict[str, Any]:
    names = {
        "observation.state": [axis.name for axis in spec.state],
        "action": [axis.name for axis in spec.action],
        "action.executed": [axis.name for axis in spec.action],
    }
    features: dict[str, Any] = {}
    for field in table.schema:
        listed = pa.types.is_fixed_size_list(field.type)
        kind = field.type.value_type if listed else field.type
        shape = [field.type.list_size] if listed else [1]
        dtype = {"float": "float32", "double": "float64"}.get(str(kind), str(kind))
        features[field.name] = {"dtype": dtype, "shape": shape, "names": names.get(field.name)}
    for camera in spec.cameras:
        features[f"{IMAGE_KEY}{camera.name}"] = {
            "dtype": "video",
            "shape": [camera.height, camera.width, camera.channels],
            "names": ["height", "width", "channels"],
            "info": {
                "video.fps": round(spec.control_rate_hz),
                "video.height": camera.height,
                "video.width": camera.width,
                "video.channels": camera.channels,
                "video.codec": "h264",
                "video.pix_fmt": "yuv444p",
                "video.is_depth_map": False,
                "has_audio": False,
            },
        }
    return features


def _stats(table: pa.Table) -> dict[str, Any]:
    stats = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        listed = pa.types.is_fixed_size_list(column.type)
        values = column.flatten() if listed else column
        array = values.to_numpy(zero_copy_only=False).astype(np.float64)
        array = array.reshape(len(table), -1)
        stats[name] = {
            "min": array.min(0).tolist(),
            "max": array.max(0).tolist(),
            "mean": array.mean(0).tolist(),
            "std": array.std(0).tolist(),
            "count": [len(table)],
        }
    return stats


def _column(array: np.ndarray) -> pa.Array:
    if array.ndim == 1:
        return pa.array(array)
    flat = array.reshape(len(array), -1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1])


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
