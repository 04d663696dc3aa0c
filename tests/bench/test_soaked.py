"""What counts as lost, excused and grown in a soak; and a short one."""

from __future__ import annotations

import json
import runpy
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import msgspec
import numpy as np
import pytest

from dualsys.bench.soaked import Blow, Footprint, excuses, first_tick_ns, growth, lost
from dualsys.messages import Command
from tests.scripts import ROOT, run
from tests.shield.plants import stamp

SECOND = 1_000_000_000


def commands(*ticks: int) -> list[Command]:
    """One a second, by their ticks."""
    stamps = [msgspec.structs.replace(stamp(tick), time_ns=tick * SECOND) for tick in ticks]
    return [Command(at, np.zeros(2, np.float32), "system1", (), 0, 0) for at in stamps]


def test_a_hole_that_nothing_excuses_is_a_loss() -> None:
    assert lost(commands(1, 2, 3, 4), []) == []
    assert lost(commands(1, 2, 5, 6, 8), []) == [2, 6]
    assert lost(commands(1, 2, 5, 6, 8), [(2 * SECOND, 2 * SECOND)]) == [6]
    assert lost(commands(1, 2, 5), [(3 * SECOND, 4 * SECOND)]) == [2], "excused too late"


def test_a_new_episode_is_no_hole() -> None:
    later = [
        msgspec.structs.replace(c, stamp=msgspec.structs.replace(c.stamp, epoch=1))
        for c in commands(9, 10)
    ]
    assert lost([*commands(1, 2), *later], []) == []


def test_only_what_takes_records_excuses_and_only_a_second_before_it() -> None:
    at = 10 * SECOND
    assert excuses([Blow(at, at, "recorder", "kill")], [], 0) == [(9 * SECOND, at)]
    assert excuses([Blow(at, at + SECOND, "world", "stop")], [], 0) == [(9 * SECOND, 12 * SECOND)]
    assert excuses([Blow(at, at, "system1", "kill")], [], 0) == []
    disk = {"place": "disk", "kind": "off", "begin_s": 2.0, "end_s": 3.0}
    camera = {**disk, "place": "camera"}
    assert excuses([], [disk, camera], at) == [(11 * SECOND, 14 * SECOND)]


def test_the_first_tick_is_told_by_the_first_one_that_is_left() -> None:
    assert first_tick_ns(commands(0, 1), SECOND) == 0
    assert first_tick_ns(commands(3, 4), SECOND) == 0


def samples(name: str, kilobytes: list[int], pid: int = 7) -> list[Footprint]:
    return [Footprint(i * SECOND, name, pid, kb, 5 + kb // 150) for i, kb in enumerate(kilobytes)]


def test_growth_is_of_what_had_settled() -> None:
    steady, warming = [100] * 20, [10, 50] + [100] * 18
    growing = [100 + 4 * i for i in range(20)]
    found = growth(samples("a", steady) + samples("b", warming) + samples("c", growing))
    assert found["a"] == found["b"] == {"memory": 0.0, "descriptors": 0.0}
    assert found["c"]["memory"] > 0.2
    assert found["c"]["descriptors"] == 1


def test_a_process_that_was_started_again_settles_anew() -> None:
    assert growth(samples("a", [100] * 20) + samples("a", [900] * 20, pid=8)) == {}


def test_shared_memory_is_left_only_where_nobody_uses_it() -> None:
    script = runpy.run_path(str(ROOT / "launch/soak.py"))
    before = script["segments"]()
    segment = SharedMemory(create=True, size=64)
    assert script["left_in_memory"](before) == 0, "it is in use, here"
    segment.close()
    assert script["left_in_memory"](before) == 1
    segment.unlink()
    assert script["left_in_memory"](before) == 0


@pytest.mark.rendering
@pytest.mark.timeout(300)
def test_a_short_soak_finds_nothing(tmp_path: Path) -> None:
    words = ["--minutes", "0.1", "--blows", "3", "--run-s", "10", "--calm-s", "8", "--every-s", "1"]
    done = run("launch/soak.py", *words, "--out", tmp_path / "soak.json")
    report = json.loads((tmp_path / "soak.json").read_text())
    found = {name: report[name] for name in ("unsafe", "lost", "damaged", "orphans", "segments")}
    assert not any(found.values()), (found, done.stdout, done.stderr)
    assert report["blows"] >= 3
    assert report["commands"] > 100
    assert report["runs"] >= 2
