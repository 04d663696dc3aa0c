"""Every fault at every place, in real processes on the wall clock."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from dualsys.bench.faulted import (
    EXPECTED,
    Cell,
    Evidence,
    configuration,
    run_place,
    schedule,
    unsafe,
)
from dualsys.faults.fault import KINDS, PLACES
from dualsys.messages import Command, Message
from dualsys.runtime.log import Damage
from tests.shield.plants import SLED, stamp

TIMES = ("ticks missed",)  # no test asserts a time; the benchmark does


@pytest.mark.rendering
@pytest.mark.timeout(300)
@pytest.mark.parametrize("place", PLACES)
def test_whatever_fails_the_plant_gets_a_safe_command_and_all_recovers(
    place: str, tmp_path: Path
) -> None:
    cells = run_place(place, tmp_path)
    assert [cell.kind for cell in cells] == list(KINDS)
    wrong = {cell.kind: [word for word in cell.amiss if not word.endswith(TIMES)] for cell in cells}
    assert not any(wrong.values()), (wrong, cells)


def test_the_matrix_has_every_cell_and_time_to_recover_between_them() -> None:
    assert set(EXPECTED) == {(place, kind) for place in PLACES for kind in KINDS}
    for place in PLACES:
        faults = schedule(place)
        for one, two in itertools.pairwise(faults):
            assert two["begin_s"] >= one["end_s"] + 3


def test_a_run_s_faults_stand_in_its_configuration(tmp_path: Path) -> None:
    config = configuration("link", tmp_path)
    assert [row["kind"] for row in config["faults"]["declared"]] == list(KINDS)


def sent(tick: int, *values: float, epoch: int = 0) -> Command:
    where = msgspec.structs.replace(stamp(tick), epoch=epoch)
    return Command(where, np.array(values, np.float32), "system1", (), 0, 0)


@pytest.mark.parametrize(
    ("falls_back", "recovered"), [((), True), (range(60, 64), True), (range(30, 90, 8), False)]
)
def test_recovery_is_a_second_of_good_ticks_before_the_next_fault(
    falls_back: Sequence[int], recovered: bool
) -> None:
    """At 20 Hz: a fault from 1 to 1.5 s, the next at 4.5 s."""
    good = [sent(tick, 0.0, 0.0) for tick in range(1, 90)]
    log: list[Message] = [
        msgspec.structs.replace(
            command,
            source="fallback" if tick in falls_back else "system1",
            stamp=msgspec.structs.replace(command.stamp, time_ns=tick * SLED.period_ns),
        )
        for tick, command in enumerate(good, start=1)
    ]
    evidence = Evidence(log, SLED, {"ticks": {"missed_at_ns": []}}, Damage())
    fault = {"place": "system1", "kind": "intermittent", "begin_s": 1.0, "end_s": 1.5}
    assert evidence.cell(fault, 4.5).recovered is recovered


def test_what_is_unsafe() -> None:
    """Steps of 0.4 and 0.5 are allowed, and a box from -1 to 1."""
    good = [sent(0, 0.0, 0.0), sent(1, 0.4, 0.5), sent(2, 0.8, 1.0)]
    assert unsafe(good, SLED) == []
    assert unsafe([*good, sent(3, np.nan, 1.0)], SLED) == [3]
    assert unsafe([*good, sent(3, 1.1, 1.0)], SLED) == [3]
    assert unsafe([*good, sent(3, 0.3, 1.0)], SLED) == [3]
    assert unsafe([*good, sent(4, 0.3, 1.0)], SLED) == [], "a tick between them is missing"
    assert unsafe([*good, sent(3, 0.0, 0.0, epoch=1)], SLED) == []


def test_a_cell_says_what_is_amiss() -> None:
    cell = Cell("camera", "off", 30, 0, 0, 0, {"silent": 20}, 5, True)
    assert cell.amiss == ()
    for changes, told in (
        ({"ticks": 0}, "no command was recorded"),
        ({"unsafe": 2}, "2 unsafe commands"),
        ({"holes": 1}, "1 ticks without a command"),
        ({"late": 3}, "3 ticks missed"),
        ({"rungs": {"fresh": 30}}, "never silent"),
        ({"counted": 0}, "system1 observation_unfit did not move"),
        ({"recovered": False}, "no recovery"),
    ):
        assert msgspec.structs.replace(cell, **changes).amiss == (told,)
    own = msgspec.structs.replace(cell, place="system1", kind="stuck", late=9)
    assert own.amiss == (), "what System 1 misses itself is the fault"
