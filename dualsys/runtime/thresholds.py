"""Thresholds of the uncertainty: `dualsys calibrate` writes them, `trigger=uncertainty` reads them.

A threshold holds for one System 1 in one domain, and its rate of calls for one hysteresis and one
refractory time; a file of others is refused.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from dualsys.errors import DualsysError

if TYPE_CHECKING:
    from dualsys.spec import WorldSpec


class Measured(msgspec.Struct, frozen=True):
    """Whose uncertainty it is. weights: digest of the checkpoint's weights, None if not known."""

    domain: str
    control_rate_hz: float
    checkpoint: str
    weights: str | None
    samples: int
    spread_weight: float


class Threshold(msgspec.Struct, frozen=True):
    """A threshold [nat], the share of ticks above it, and the calls that come of it."""

    share_of_ticks: float
    threshold: float
    calls_per_tick: float


class Calibration(msgspec.Struct, frozen=True):
    """What `trigger=uncertainty` reads of a file of `dualsys calibrate`."""

    measured: Measured
    hysteresis: float
    refractory_s: float
    thresholds: tuple[Threshold, ...]


def weights_digest(folder: Path) -> str | None:
    """Digest of a checkpoint's weights; None where there are none (any more)."""
    from dualsys.system1.checkpoint import WEIGHTS

    file = folder / WEIGHTS
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else None


def read_calibration(file: Path) -> Calibration:
    """Read a file of `dualsys calibrate`. Raises `DualsysError` for another one."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Calibration)
    except (OSError, msgspec.DecodeError) as error:
        raise DualsysError(
            f"trigger.calibration={file} is no file of `dualsys calibrate` ({error}); give its out="
        ) from error


def calibrated_threshold(config: dict[str, Any], spec: WorldSpec, checkpoint: Path) -> float:
    """The threshold [nat] with which `trigger.calibration` saw `trigger.rate` calls per tick.

    Between the file's thresholds it is interpolated. Raises `DualsysError` for a file of another
    System 1, domain or gate, and for a rate that the file does not reach.
    """
    trigger, system1 = config["trigger"], config["system1"]
    file = Path(trigger["calibration"])
    if trigger["threshold"] is not None:
        raise DualsysError(
            f"trigger.threshold={trigger['threshold']} and trigger.calibration={file} both say "
            "from where on to call; give one of them"
        )
    found = read_calibration(file)
    theirs, told = found.measured, found.measured.weights is not None
    for what, calibrated, here in (
        ("domain", theirs.domain, spec.domain),
        ("control rate [Hz]", theirs.control_rate_hz, spec.control_rate_hz),
        ("weights of System 1", theirs.weights, weights_digest(checkpoint) if told else None),
        ("system1.samples", theirs.samples, system1["samples"]),
        ("system1.spread_weight", theirs.spread_weight, system1["spread_weight"]),
        ("trigger.hysteresis", found.hysteresis, trigger["hysteresis"]),
        ("trigger.refractory_s", found.refractory_s, trigger["refractory_s"]),
    ):
        if calibrated != here:
            raise DualsysError(
                f"trigger.calibration={file} holds for another {what}: {calibrated} there, {here} "
                "here; calibrate on runs like this one"
            )
    return _threshold_at(found, trigger["rate"], file)


def _threshold_at(found: Calibration, rate: float, file: Path) -> float:
    rows = sorted(found.thresholds, key=lambda row: -row.threshold)
    calls = np.maximum.accumulate([row.calls_per_tick for row in rows])
    if not calls[0] <= rate <= calls[-1]:
        raise DualsysError(
            f"trigger.rate={rate} calls per tick is out of reach of trigger.calibration={file}: "
            f"its thresholds gave {calls[0]:.4g} to {calls[-1]:.4g} with trigger.refractory_s="
            f"{found.refractory_s}; give a rate between them"
        )
    return float(np.interp(rate, calls, [row.threshold for row in rows]))
