"""Puts a run together from its configuration: policy, trigger, latency, shield.

Who is System 1 stands in `dualsys.runtime.drivers`, who is System 2 in `dualsys.runtime.planners`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from dualsys.errors import DualsysError, UnknownNameError
from dualsys.plugins import require_installed
from dualsys.runtime.gates import matching_gate
from dualsys.runtime.latency import (
    DistributionLatency,
    FixedLatency,
    LatencyModel,
    TickLatency,
    TraceLatency,
    load_trace,
)
from dualsys.runtime.thresholds import calibrated_threshold
from dualsys.shield.ladder import Ladder, LadderConfig
from dualsys.shield.shield import Shield, ShieldConfig
from dualsys.spec import WorldSpec
from dualsys.system1.policy import Policy
from dualsys.system1.timing import PolicyConfig
from dualsys.trigger.acceptance import Acceptance
from dualsys.trigger.rules import (
    LearnedTrigger,
    NeverTrigger,
    PeriodicTrigger,
    RandomTrigger,
    Trigger,
    UncertaintyTrigger,
)
from kernels.engine import Engine

Config = dict[str, Any]
MACHINE_KEYS = ("workers", "out", "videos")  # they change no result


def session_of(config: Config) -> int:
    """The session number of a lockstep run: a function of what decides its results (53 bits)."""
    deciding = {k: v for k, v in config.items() if k not in MACHINE_KEYS}
    digest = hashlib.sha256(msgspec.json.encode(deciding, order="sorted")).digest()
    return int.from_bytes(digest[:8], "little") >> 11


def require_no_code(config: Config, source: str) -> Config:
    """A configuration that was read from a file, once it is seen to name no code by its place."""
    parts = (("system1", "driver"), ("system2", "planner"))
    require_installed(source, [config.get(part, {}).get(key, "") for part, key in parts])
    return config


def stream(seed: int, scenario: str) -> int:
    """The seed of what is drawn at random in a scenario; the same on every machine.

    Without it the episodes of one seed would have the same calls and latencies in every scenario,
    and pooled they would count for more than they are.
    """
    if not scenario:
        return seed
    digest = hashlib.sha256(f"{seed} {scenario}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


def checkpoint_folder(config: Config, spec: WorldSpec) -> Path:
    """The checkpoint named by the configuration, or the driver's shipped one of the domain."""
    named, driver = config["system1"]["checkpoint"], config["system1"]["driver"]
    if named != "auto":
        path = Path(named)
        return path.parent if driver == "onnx" and path.is_file() else path
    if driver == "onnx":
        raise DualsysError(
            "system1.driver=onnx needs system1.checkpoint=DIR, a folder with an ONNX file and its "
            "description policy.json (docs/bring_your_own_policy.md)"
        )
    shipped = spec.domain if driver == "network" else f"{spec.domain}-{driver}"
    return Path(__file__).parent.parent / "weights" / shipped


def make_policy(
    config: Config, spec: WorldSpec, engine: Engine, trigger: Trigger | None = None
) -> Policy:
    """System 1 around an engine, with its trigger: `trigger`, or the configuration's."""
    rule = trigger or make_trigger(config, spec)
    return Policy(spec, engine, rule, policy_config(config, spec), make_acceptance(config, spec))


def policy_config(config: Config, spec: WorldSpec) -> PolicyConfig:
    """System 1's timing in ticks, and what it asks for."""
    system1 = config["system1"]
    others = ("driver", "checkpoint", "samples")
    times = {k: v for k, v in system1.items() if k not in others and not k.startswith("depth")}
    # On the wall clock an action acts in the tick after its observation.
    lockstep = config["runtime"]["name"] == "lockstep"
    commit = make_latency(config, spec).system1_ticks if lockstep else 1
    budget = config["system2"]["budget"]
    return PolicyConfig.in_seconds(
        spec.control_rate_hz, **times, commit_ticks=commit, budget=budget
    )


def make_acceptance(config: Config, spec: WorldSpec) -> Acceptance:
    """Which answers are used at all."""
    latest_s, least = (config["trigger"][k] for k in ("latest_s", "least_value"))
    latest = None if latest_s is None else round(latest_s * spec.control_rate_hz)
    acceptance = Acceptance(latest, least)
    acceptance.check()
    return acceptance


def silent(config: Config) -> Config:
    """The same configuration with a System 1 that asks nobody and accepts every guidance."""
    trigger = {**config["trigger"], "name": "never", "latest_s": None, "least_value": None}
    return {**config, "trigger": trigger}


TRIGGERS = ("never", "always", "periodic", "random", "uncertainty", "learned", "oracle")


def gate_folder(config: Config, spec: WorldSpec) -> Path:
    """The gate named by the configuration, or the shipped one of the world's domain."""
    named = config["trigger"]["gate"]
    if named != "auto":
        return Path(named)
    return Path(__file__).parent.parent / "weights" / f"{spec.domain}-gate"


def make_trigger(config: Config, spec: WorldSpec, scenario: str = "") -> Trigger:
    """The trigger rule; without a System 2 nothing is ever asked.

    What is drawn at random belongs to `scenario`, if one is given.
    Raises `DualsysError` for settings that make no sense, and for a gate or a calibration of
    another System 1.
    """
    trigger = config["trigger"]
    name = trigger["name"] if config["system2"]["name"] != "none" else "never"
    if name == "never":
        return NeverTrigger()
    if name == "always":
        return PeriodicTrigger(1)
    _require_judged(config, name)
    rate = spec.control_rate_hz
    if name == "periodic":
        return PeriodicTrigger(max(1, round(trigger["period_s"] * rate)))
    apart = round(trigger["refractory_s"] * rate)
    if name == "uncertainty":
        oldest_s, threshold = trigger["max_age_s"], trigger["threshold"]
        oldest = None if oldest_s is None else round(oldest_s * rate)
        if trigger["calibration"]:
            threshold = calibrated_threshold(config, spec, checkpoint_folder(config, spec))
        return UncertaintyTrigger(threshold, trigger["hysteresis"], apart, oldest)
    if name == "random":
        return RandomTrigger(trigger["rate"], apart, stream(trigger["seed"], scenario))
    if name == "learned":
        folder = gate_folder(config, spec)
        gate = matching_gate(config, spec, checkpoint_folder(config, spec), folder)
        return LearnedTrigger(gate, trigger["price"], apart)
    if name == "oracle":
        raise DualsysError(
            "trigger=oracle tries both ways in the simulator, in lockstep only; choose another "
            "trigger= or runtime=lockstep"
        )
    raise UnknownNameError("trigger", name, TRIGGERS)


def _require_judged(config: Config, name: str) -> None:
    """Raise `DualsysError` for a trigger that learned from the network, with another System 1."""
    file = config["trigger"]["calibration"] if name == "uncertainty" else ""
    if name not in ("learned", "oracle") and not file:
        return
    driver = config["system1"]["driver"]
    if driver == "network":
        return
    what = f"trigger.calibration={file}" if file else f"trigger={name}"
    raise DualsysError(
        f"{what} knows what the network of dualsys says of itself, and System 1 is {driver}; "
        "choose trigger=uncertainty with trigger.threshold=NUMBER, periodic, random or never"
    )


def make_latency(config: Config, spec: WorldSpec, scenario: str = "") -> LatencyModel:
    """The latency model of a lockstep run; what it draws belongs to `scenario`, if one is given."""
    latency = config["latency"]
    name = latency["name"]
    if name == "none":
        return FixedLatency(0, 0.0)
    if name == "fixed":
        return FixedLatency(latency["system1_ticks"], latency["system2_ms"])
    if name == "ticks":
        return TickLatency(latency["system1_ticks"], latency["system2_ticks"], spec.period_ns)
    if name == "distribution":
        return DistributionLatency(
            latency["system1_ticks"],
            latency["system2_median_ms"],
            latency["system2_p99_ms"],
            stream(latency["seed"], scenario),
        )
    if name == "trace":
        if not latency["trace"]:
            raise DualsysError("latency=trace needs latency.trace=FILE (a realtime latency.json)")
        return TraceLatency(load_trace(Path(latency["trace"])), stream(0, scenario))
    raise UnknownNameError("latency", name, ["none", "fixed", "ticks", "distribution", "trace"])


def make_shield(config: Config, spec: WorldSpec) -> Shield:
    """The shield with the limits of the world, on the lowest rung of its ladder.

    Raises `DualsysError` for the configuration of a run that is older than the ladder.
    """
    if "ladder" not in config:
        raise DualsysError(
            "this run was made before the shield had its limits and its ladder; make it again"
        )
    ladder = Ladder(LadderConfig(**config["ladder"]))
    return Shield(spec, ShieldConfig(**config["shield"]), ladder)
