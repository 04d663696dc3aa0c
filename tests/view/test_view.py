"""What is shown of a run: every message has its picture, and nobody who acts notices."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from mcap.reader import make_reader
from PIL import Image

from dualsys import messages
from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.messages import Health, Message, Observation, Stamp, Thought
from dualsys.runtime.log import frames_of, read_log
from dualsys.runtime.realtime import realtime
from dualsys.spec import WorldSpec
from sim import registry

pytest.importorskip("rerun", reason="the view needs the extra `view`")
from dualsys.view.beside import viewed
from dualsys.view.command import view
from dualsys.view.picture import Picture
from dualsys.view.said import Said
from dualsys.view.show import STREAMS, Timeline, show_log, thinned
from dualsys.view.window import Window

SPEC: WorldSpec = registry.spec_of("driving/merge")


def test_every_kind_of_message_has_a_picture() -> None:
    assert set(Picture(SPEC)._show) == set(get_args(Message))


def shown(run: Path) -> dict[str, int]:
    """How often each path is shown of a run's log."""
    picture, counts = Picture(SPEC), dict[str, int]()
    for _, message in read_log(run / "log.mcap"):
        for path, _ in picture.of(message):
            counts[path] = counts.get(path, 0) + 1
    return counts


def test_a_run_is_shown_with_all_that_its_log_holds(run_folder: Path) -> None:
    counts = shown(run_folder)
    log = [message for _, message in read_log(run_folder / "log.mcap")]
    ticks = sum(isinstance(message, messages.Command) for message in log)
    assert counts["command/acceleration/sent"] == counts["command/acceleration/wanted"] == ticks
    assert counts["system1/uncertainty"] == counts["latency/system1_ms"] > 0
    asked = sum(isinstance(message, messages.PlanRequest) for message in log)
    assert counts["system1/asked"] == counts["log/trigger"] == asked > 0
    assert counts["cameras/topdown"] == sum(isinstance(m, Observation) for m in log)
    assert counts["cameras/topdown/chunk"] > 0
    assert counts["guidance/age_s"] > 0
    assert counts["log/world"] >= 1, "how episodes ended"
    assert counts["plant/instruction"] == 1, "told once, for it does not change"


def test_a_thought_is_shown_with_what_was_seen_answered_and_valued() -> None:
    picture, stamp = Picture(SPEC), Stamp(1, 0, 1, 0, 0)
    image = np.zeros((8, 8, 3), np.uint8)
    candidates = np.zeros((2, 4, len(SPEC.action)), np.float32)
    state = np.zeros(len(SPEC.state), np.float32)
    picture.of(Observation(stamp, {"topdown": image}, {"topdown": 0}, state, state[None], "drive"))
    answers = {"hazard": "none", "plan": "follow"}
    thought = Thought(
        stamp, 3, {"topdown": image}, answers, candidates, np.array([0.1, 0.9]), 1, {"follow": 2}
    )
    found = dict(picture.of(thought))
    assert list(found) == [
        *("thought/seen/topdown", "thought/answers", "thought/values"),
        "cameras/topdown/candidates",
    ]
    page = found["thought/answers"].text.as_arrow_array()[0].as_py()
    assert "| hazard | none |" in page
    assert "| votes for follow | 2 |" in page
    colours = found["cameras/topdown/candidates"].colors.as_arrow_array().to_pylist()
    assert len(set(colours)) == 2, "the chosen one has its own"


def test_pictures_come_no_faster_than_one_sees() -> None:
    picture = Picture(SPEC)
    image, state = np.zeros((8, 8, 3), np.uint8), np.zeros(len(SPEC.state), np.float32)
    times = [0, 1_000_000, 49_000_000, 50_000_000]
    told = []
    for time_ns in times:
        stamp = Stamp(1, 0, 1, 0, time_ns)
        seen = Observation(stamp, {"topdown": image}, {"topdown": 0}, state, state[None], "")
        told.append("cameras/topdown" in dict(picture.of(seen)))
    assert told == [True, False, False, True]


def test_time_begins_with_the_first_tick_and_ticks_go_on_over_episodes() -> None:
    line = Timeline()
    array = np.zeros(0, np.float32)

    def seen(epoch: int, tick: int, time_s: float) -> Observation:
        return Observation(Stamp(1, epoch, 1, tick, int(time_s * 1e9)), {}, {}, array, array, "")

    def alive(time_s: float) -> Health:
        return Health(Stamp(1, 0, 1, 0, int(time_s * 1e9)), "world", "running", {}, {})

    assert line.of(alive(1.0)) is None
    assert line.of(seen(0, 0, 5.0)) == (0.0, 0, 0)
    assert line.of(seen(0, 1, 5.5)) == (0.5, 1, 0)
    assert line.of(seen(1, 0, 6.0)) == (1.0, 2, 1)
    assert line.of(alive(7.0)) == (2.0, 2, 1), "a sign of life stands at the newest tick"


def recorded(file: Path) -> set[str]:
    """The paths that a saved view holds, as Rerun itself reads them."""
    done = subprocess.run(
        [sys.executable, "-m", "rerun", "rrd", "print", str(file)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return {word for word in done.stdout.replace("/", " /").split() if word.startswith("/")}


def configured(log: Path, **changes: str) -> dict[str, Any]:
    return load("view", [f"log={log}", *(f"{k}={v}" for k, v in changes.items())])


def test_a_log_is_saved_for_rerun(run_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "view.rrd"
    told = view(configured(run_folder, save=str(file)))
    assert told["messages"] > 100
    assert {"/uncertainty", "/topdown", "/trigger"} <= recorded(file)


def test_a_log_is_served_to_a_browser_on_this_machine_alone(run_folder: Path) -> None:
    window = Window(browser=True)
    try:
        assert show_log(run_folder / "log.mcap", window, epoch=0) > 100
        assert window.page.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(window.page) as page:
            assert b"Rerun" in page.read()
        assert listens_on(window.process.pid) == {"127.0.0.1"}
    finally:
        window.close()


def listens_on(pid: int) -> set[str]:
    """The addresses of the sockets that a process and its children listen on."""
    group = [p.parent for p in Path("/proc").glob("[0-9]*/stat") if os.getsid(pid) == sid(p)]
    inodes = {
        str(link.readlink())
        for place in group
        for link in (place / "fd").iterdir()
        if str(link.readlink()).startswith("socket:")
    }
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == "0A" and f"socket:[{words[9]}]" in inodes:
            octets = bytes.fromhex(words[1].split(":")[0])[::-1]
            found.add(".".join(map(str, octets)))
    for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == "0A" and f"socket:[{words[9]}]" in inodes:
            found.add("v6")
    return found


def sid(stat: Path) -> int:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[3])
    except OSError:
        return -1


def test_other_tools_find_pictures_and_words_beside_our_own_messages(
    run_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "other.mcap"
    told = view(configured(run_folder, mcap=str(file)))
    schemas, own, pictures = dict[str, str](), list[bytes](), list[bytes]()
    with file.open("rb") as opened:
        for schema, channel, message in make_reader(opened).iter_messages():
            schemas[channel.topic] = schema.name if schema else ""
            if channel.topic.startswith("/dualsys/"):
                own.append(message.data)
            elif channel.topic == "/cameras/topdown":
                pictures.append(message.data)
    assert schemas["/cameras/topdown"] == "foxglove.CompressedImage"
    assert schemas["/log"] == "foxglove.Log"
    log = list(frames_of(run_folder / "log.mcap"))
    assert sorted(own) == sorted(frame for _, frame, _ in log)
    assert told["messages"] == len(own)
    seen = [m for _, m in read_log(run_folder / "log.mcap") if isinstance(m, Observation)]
    assert len(pictures) == len(seen)
    png = pictures[0][pictures[0].index(b"\x89PNG") :]
    np.testing.assert_array_equal(
        np.asarray(Image.open(io.BytesIO(png))), seen[0].images["topdown"]
    )


def test_mistakes_are_one_clear_line(run_folder: Path, tmp_path: Path) -> None:
    for changes, told in (
        ({"how": "tv"}, "unknown how 'tv'"),
        ({"epoch": "9", "save": str(tmp_path / "x.rrd")}, "holds nothing of episode 9"),
    ):
        with pytest.raises(DualsysError, match=told):
            view(configured(run_folder, **changes))
    with pytest.raises(DualsysError, match="there is no log"):
        view(configured(tmp_path))


def test_a_view_beside_a_run_shows_it_and_its_end_ends_nothing(
    untrained: Path, tmp_path: Path
) -> None:
    words = [f"system1.checkpoint={untrained}", f"out={tmp_path}", "runtime=realtime"]
    words += ["runtime.duration_s=4", "scenario=driving/merge", "system2=scripted", "view=saved"]
    config = load("eval", words)
    with viewed("file", tmp_path) as viewer:
        results = realtime(config, "driving/merge", list(range(50)))
    assert viewer is not None
    assert viewer.returncode == 0
    assert results["ticks"]["total"] > 40
    assert {"/uncertainty", "/topdown"} <= recorded(tmp_path / "view.rrd")


def test_a_viewer_that_is_killed_is_not_missed(tmp_path: Path) -> None:
    with viewed("file", tmp_path) as viewer:
        assert viewer is not None
        time.sleep(0.2)
        os.killpg(viewer.pid, signal.SIGKILL)
    assert viewer.returncode == -signal.SIGKILL


def test_a_live_view_keeps_the_newest_of_what_comes_at_every_tick(run_folder: Path) -> None:
    log = [message for _, message in read_log(run_folder / "log.mcap")]
    kept = thinned(log)
    for kind in STREAMS:
        last = {m.stamp.epoch: id(m) for m in log if isinstance(m, kind)}
        assert [id(m) for m in kept if isinstance(m, kind)] == list(last.values())
    every_tick = (*STREAMS, messages.Command)
    rest = [id(m) for m in log if not isinstance(m, every_tick)]
    assert [id(m) for m in kept if not isinstance(m, every_tick)] == rest
    said, thin = Said(SPEC), Said(SPEC)  # interventions and rungs: nothing is left out
    whole = [line for m in log for line in said.of(m)]
    assert whole == [line for m in kept for line in thin.of(m)]
    assert len(kept) < len(log) / 2
