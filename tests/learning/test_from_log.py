"""Episodes out of logs, also out of those that a realtime run wrote topic by topic."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from dualsys.errors import DualsysError
from dualsys.learning.dataset import Dataset
from dualsys.learning.from_log import collect_runs, episodes, recordings
from dualsys.learning.shards import Episode
from dualsys.messages import (
    Action,
    Command,
    Guidance,
    Health,
    Message,
    Observation,
    Outcome,
    PlanRequest,
    Stamp,
    Thought,
)
from dualsys.runtime.log import LogWriter, read_log

TOPICS = (Observation, PlanRequest, (Guidance, Thought), Action, (Command, Outcome))
BATCH = 70  # messages that the recorder finds at once: more than ten ticks
EPOCHS = 6


def of_epoch(message: Message, epoch: int) -> Message:
    stamp = msgspec.structs.replace(message.stamp, epoch=epoch)
    return msgspec.structs.replace(message, stamp=stamp)


def as_recorded(messages: list[Message]) -> Iterator[Message]:
    """What came together is written topic by topic; System 2 lives in no epoch but the first."""
    for at in range(0, len(messages), BATCH):
        together = messages[at : at + BATCH]
        for kinds in TOPICS:
            yield from (message for message in together if isinstance(message, kinds))
        stamp = Stamp(together[0].stamp.session, 0, at, 0, together[-1].stamp.time_ns)
        yield Health(stamp, "system2", "running", {}, {})


@pytest.fixture(scope="module")
def realtime_run(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six epochs, by turns one of two drives, as a realtime run leaves them.

    An answer comes when its episode is over; the run's time ends in the first tick of a seventh.
    """
    out = tmp_path_factory.mktemp("realtime")
    log = [message for _, message in read_log(run_folder / "log.mcap")]
    found: list[Message] = []
    for epoch in range(EPOCHS):
        found += [of_epoch(m, epoch) for m in log if m.stamp.epoch == epoch % 2]
    late = next(m for m in log if isinstance(m, Guidance))
    found += [of_epoch(late, 1), of_epoch(log[0], EPOCHS)]
    assert isinstance(found[-1], Observation)
    with LogWriter(out / "log.mcap", {}) as file:
        for message in as_recorded(found):
            file.write(str(type(message).__struct_config__.tag), message)
    results = json.loads((run_folder / "results.json").read_text())
    rows = {row["epoch"]: row for row in results["episodes"]}
    results["episodes"] = [
        {**rows[epoch % 2], "epoch": epoch, "seed": 2_000_000 + epoch} for epoch in range(EPOCHS)
    ]
    (out / "results.json").write_text(json.dumps(results))
    return out


def test_a_realtime_log_holds_the_episodes_that_were_driven(
    realtime_run: Path, run_folder: Path
) -> None:
    log = [message for _, message in read_log(realtime_run / "log.mcap")]
    epochs = [m.stamp.epoch for m in log if not isinstance(m, Health)]
    assert epochs != sorted(epochs), "the ends of episodes lie mixed up with the next"
    driven, found = list(episodes(run_folder)), list(episodes(realtime_run))
    assert [episode.seed for episode in found] == [2_000_000 + epoch for epoch in range(EPOCHS)]
    for epoch, episode in enumerate(found):
        wanted = driven[epoch % 2]
        assert episode.columns.keys() == wanted.columns.keys()
        for name, column in wanted.columns.items():
            np.testing.assert_array_equal(episode.columns[name], column, err_msg=name)
        for name, images in wanted.images.items():
            np.testing.assert_array_equal(episode.images[name], images)


def test_an_episode_is_let_go_soon_after_its_end(realtime_run: Path) -> None:
    log = [message for _, message in read_log(realtime_run / "log.mcap")]
    read = 0

    def counted() -> Iterator[Message]:
        nonlocal read
        for message in log:
            read += 1
            yield message

    ends = {m.stamp.epoch: at for at, m in enumerate(log) if isinstance(m, Outcome)}
    found = recordings(counted())
    for epoch in range(EPOCHS - 1):
        assert next(found).epoch == epoch
        assert read < ends[epoch] + 2 * BATCH
    assert [recording.epoch for recording in found] == [EPOCHS - 1, EPOCHS]


def test_a_realtime_run_becomes_a_dataset(realtime_run: Path, tmp_path: Path) -> None:
    collect_runs([realtime_run], tmp_path, lambda episode: None)
    assert Dataset(tmp_path).successes().shape == (EPOCHS,)


def test_runs_of_other_drives_are_not_mixed_into_a_dataset(
    run_folder: Path, tmp_path: Path
) -> None:
    """Their episodes would be named alike, and the first ones kept."""
    run, out = Path(shutil.copytree(run_folder, tmp_path / "run")), tmp_path / "data"
    collect_runs([run], out, lambda episode: None)
    seen: list[Episode] = []
    collect_runs([run], out, seen.append)
    assert len(seen) == 2, "the same again goes on"

    def none(episode: Episode) -> bool:
        return False

    with pytest.raises(DualsysError, match="episodes: folder everything, now none"):
        collect_runs([run], out, seen.append, none)
    results: dict[str, Any] = json.loads((run / "results.json").read_text())
    results["episodes"][0]["return"] += 1.0
    (run / "results.json").write_text(json.dumps(results))
    with pytest.raises(DualsysError, match=r"runs: folder \['run .*, now \['run .* another out="):
        collect_runs([run], out, seen.append)
    (out / "staging/settings.json").unlink()
    with pytest.raises(DualsysError, match="does not say how it was recorded; use another out="):
        collect_runs([run], out, seen.append)


def test_no_folder_is_made_of_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(DualsysError, match="is not the folder of a run"):
        collect_runs([tmp_path / "run"], tmp_path / "data", lambda episode: None)
    assert not (tmp_path / "data").exists()
