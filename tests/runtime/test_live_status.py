"""What is said of a run while it goes on comes of its processes' signs of life alone."""

from __future__ import annotations

from typing import Any

from dualsys.messages import Health, Stamp
from dualsys.runtime.live_status import LiveStatus

SECOND = 1_000_000_000
MS = 1_000_000


def health(process: str, at_s: float, epoch: int = 0, **told: Any) -> Health:
    stamp = Stamp(1, epoch, 1, 0, round(at_s * SECOND))
    return Health(stamp, process, "running", told.get("counters", {}), told.get("timing", {}))


def test_nothing_is_said_before_the_world_has_begun() -> None:
    status = LiveStatus()
    status.take(health("system1", 1.0))
    assert status.told(SECOND) == {}


def test_rates_calls_age_and_drops_are_told() -> None:
    status = LiveStatus()
    status.take(health("world", 10.0))
    status.take(health("system1", 12.0))
    ages = [SECOND // 2] * 3
    status.take(health("system1", 13.0, timing={"act": [2 * MS] * 15, "guidance_age": ages}))
    for at_s, thoughts in ((12.0, 1), (13.0, 2)):
        status.take(health("system2", at_s, timing={"think": [80 * MS] * thoughts}))
    counters = {"shield_distance": 4, "shield_no_action": 0, "action_epoch": 2}
    status.take(health("world", 13.0, epoch=3, counters=counters))
    status.take(health("system1", 14.0, counters={"request_duplicate": 1}))
    told = status.told(14 * SECOND)
    assert told["time"] == "3 s"
    assert told["episode"] == "3"
    assert told["System 1"] == "0 ticks/s, alone", "nothing was done in the last second"
    assert told["System 2"] == "90 calls/min, 80 ms each"
    assert told["shield"] == "distance 4"
    assert told["drops"] == "epoch 2, request_duplicate 1"


def test_a_system_1_at_work_is_told_with_its_rate() -> None:
    status = LiveStatus()
    status.take(health("world", 0.0))
    status.take(health("system1", 1.0))
    timing = {"act": [3 * MS] * 40, "guidance_age": [SECOND // 4]}
    status.take(health("system1", 1.5, timing=timing))
    assert status.told(2 * SECOND)["System 1"] == "80 ticks/s, 3.0 ms each, guidance 0.25 s old"


def test_who_gives_no_sign_of_life_is_told_as_silent() -> None:
    status = LiveStatus()
    for name in ("world", "system1", "system2"):
        status.take(health(name, 1.0))
    told = status.told(5 * SECOND)
    assert told["System 1"].endswith("silent for 4 s")
    assert told["System 2"].endswith("silent for 4 s")


def test_the_largest_counters_are_named_and_the_rest_is_counted() -> None:
    status = LiveStatus()
    status.take(health("world", 1.0, counters={f"shield_l{n}": n for n in range(1, 7)}))
    assert status.told(SECOND)["shield"] == "l6 6, l5 5, l4 4, 3 more"
    assert status.told(SECOND)["System 1"] == "not there yet"
