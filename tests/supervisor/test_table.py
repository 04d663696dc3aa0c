from __future__ import annotations

import math
from typing import Any

import pytest

from dualsys.errors import DualsysError
from tests.supervisor.tables import config


def test_the_shipped_table_starts_the_world_last_and_a_planner_where_there_is_one() -> None:
    table = config()
    assert list(table.wanted(planner=True)) == ["recorder", "system2", "system1", "world"]
    assert list(table.wanted(planner=False)) == ["recorder", "system1", "world"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"window_s": 0.0}, "supervisor.window_s must be a positive number, it is 0.0"),
        ({"heartbeat_s": -1.0}, "supervisor.heartbeat_s must be"),
        ({"stop_s": math.nan}, "supervisor.stop_s must be"),
        ({"loading_s": math.inf}, "supervisor.loading_s must be"),
        ({"restarts": -1}, "supervisor.restarts can not be negative"),
        ({"processes": {"system1": {}}}, "needs 'world', it has system1"),
        ({"processes": {"world": {"restart": "often"}}}, "world.restart is 'often', it can be"),
        ({"processes": {"world": {"run_if": "monday"}}}, "world.run_if is 'monday'"),
        ({"processes": {"world": {"priority": 100}}}, "world.priority is 100, it can be 0 to 99"),
        ({"processes": {"world": {"priority": -1}}}, "world.priority is -1"),
        ({"processes": {"world": {"cores": [0, -1]}}}, r"cores are \[0, -1\], cores are counted"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DualsysError, match=words):
        config(**changes)
