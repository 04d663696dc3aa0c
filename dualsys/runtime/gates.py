"""The learned gate of a configuration: it holds for one System 1 in one domain, others are refused.

What a gate judges is how unsure System 1 is and what it perceives: the numbers of other weights, or
of another number of samples, mean something else.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dualsys.errors import DualsysError
from dualsys.runtime.thresholds import weights_digest
from dualsys.trigger.gate import Gate, Judged, load_gate
from dualsys.trigger.situation import feature_names

if TYPE_CHECKING:
    from dualsys.spec import WorldSpec


def judged(config: dict[str, Any], spec: WorldSpec, checkpoint: Path) -> Judged:
    """Whose situations a gate judges in a run of this configuration.

    Raises `DualsysError` where `checkpoint` holds no System 1.
    """
    from dualsys.system1.checkpoint import load_card

    perceived = load_card(checkpoint).network.perceived_size
    system1 = config["system1"]
    return Judged(
        spec.domain,
        spec.control_rate_hz,
        feature_names(spec, perceived),
        config["system1"]["checkpoint"],
        weights_digest(checkpoint),
        system1["samples"],
        system1["noise_scale"],
    )


def matching_gate(config: dict[str, Any], spec: WorldSpec, checkpoint: Path, folder: Path) -> Gate:
    """The gate in `folder`, which must have learned from a System 1 like that of this run.

    Raises `DualsysError` where there is none, or one of another System 1 or domain.
    """
    gate = load_gate(folder)
    whose = judged(config, spec, checkpoint)
    same_system_1(f"the gate in {folder}", gate.card.judged, "this run", whose)
    return gate


def same_system_1(name: str, one: Judged, other_name: str, other: Judged) -> None:
    """Raise `DualsysError` where both judge situations of another System 1 or domain."""
    for what, first, second in differences(one, other):
        set_so = what.startswith("system1.")
        remedy = f"{what}={first} suits both" if set_so else "use one System 1, or another gate"
        raise DualsysError(
            f"{name} and {other_name} are of another {what}: {first} there, {second} here; "
            f"{remedy} (a gate is tried by launch/try_calls.py, trained and run with one System 1)"
        )


def differences(one: Judged, other: Judged) -> list[tuple[str, Any, Any]]:
    """What of both differs, and both sides of it; the path of the checkpoint may."""
    return [
        (what, first, second)
        for what, first, second in (
            ("domain", one.domain, other.domain),
            ("control rate [Hz]", one.control_rate_hz, other.control_rate_hz),
            ("weights of System 1", one.weights, other.weights),
            ("list of features", *_apart(one.features, other.features)),
            ("system1.samples", one.samples, other.samples),
            ("system1.noise_scale", one.noise_scale, other.noise_scale),
        )
        if first != second
    ]


def _apart(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Of two lists that differ, what only one of them names; where the order differs, all of it."""
    first, second = [n for n in one if n not in other], [n for n in other if n not in one]
    return (first, second) if first or second else (list(one), list(other))
