"""The uncertainty's threshold from a calibration: the wanted rate, and only where it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.runtime.assembly import make_trigger
from dualsys.runtime.thresholds import (
    Calibration,
    Measured,
    Threshold,
    calibrated_threshold,
    weights_digest,
)
from sim.driving.spec import SPEC

ROWS = tuple(
    Threshold(share, limit, calls)
    for share, limit, calls in ((0.01, 3.0, 0.01), (0.1, 2.0, 0.03), (0.5, 1.0, 0.05))
)


def calibration(checkpoint: Path, **changes: Any) -> Calibration:
    whose = Measured(
        SPEC.domain, SPEC.control_rate_hz, str(checkpoint), weights_digest(checkpoint), 1, 1.0
    )
    here = {name: changes.pop(name) for name in list(changes) if hasattr(whose, name)}
    found = Calibration(msgspec.structs.replace(whose, **here), 0.1, 1.0, ROWS)
    return msgspec.structs.replace(found, **changes)


def asked(found: Calibration, checkpoint: Path, folder: Path, *words: str) -> float:
    file = folder / "calibration.json"
    file.write_bytes(msgspec.json.encode(found))
    shared = [f"system1.checkpoint={checkpoint}", "scenario=driving/merge", "trigger=uncertainty"]
    config = load("eval", [*shared, "system2=scripted", f"trigger.calibration={file}", *words])
    make_trigger(config, SPEC)
    return calibrated_threshold(config, SPEC, checkpoint)


@pytest.mark.parametrize(
    ("rate", "limit"), [(0.01, 3.0), (0.02, 2.5), (0.03, 2.0), (0.045, 1.25), (0.05, 1.0)]
)
def test_the_threshold_is_that_of_the_wanted_calls(
    untrained: Path, tmp_path: Path, rate: float, limit: float
) -> None:
    found = asked(calibration(untrained), untrained, tmp_path, f"trigger.rate={rate}")
    assert found == pytest.approx(limit)


@pytest.mark.parametrize("rate", [0.1, 0.001])
def test_a_rate_out_of_reach_is_refused(untrained: Path, tmp_path: Path, rate: float) -> None:
    with pytest.raises(DualsysError, match=rf"rate={rate} .*0\.01 to 0\.05 .*refractory_s=1\.0"):
        asked(calibration(untrained), untrained, tmp_path, f"trigger.rate={rate}")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"domain": "manipulation"}, "domain: manipulation there, driving here"),
        ({"weights": "0123"}, "weights of System 1: 0123 there"),
        ({"samples": 4}, "system1.samples: 4 there, 1 here"),
        ({"spread_weight": 0.5}, "system1.spread_weight: 0.5 there, 1.0 here"),
        ({"refractory_s": 0.5}, "trigger.refractory_s: 0.5 there, 1.0 here"),
        ({"hysteresis": 0.0}, "trigger.hysteresis: 0.0 there, 0.1 here"),
    ],
)
def test_a_calibration_of_something_else_is_refused(
    untrained: Path, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(DualsysError, match=told):
        asked(calibration(untrained, **changes), untrained, tmp_path)


def test_weights_that_are_not_known_are_not_held_against_it(
    untrained: Path, tmp_path: Path
) -> None:
    assert asked(calibration(untrained, weights=None), untrained, tmp_path) == 3.0


def test_two_sources_of_a_threshold_or_no_file_are_refused(untrained: Path, tmp_path: Path) -> None:
    with pytest.raises(DualsysError, match="give one of them"):
        asked(calibration(untrained), untrained, tmp_path, "trigger.threshold=1.0")
    with pytest.raises(DualsysError, match="no file of `dualsys calibrate`"):
        asked(calibration(untrained), untrained, tmp_path, "trigger.calibration=/nowhere.json")
