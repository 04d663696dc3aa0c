"""From a configuration to the engine that runs System 1: which parts, how deep, and from where."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dualsys.environment import cache_folder
from dualsys.errors import DualsysError, UnknownNameError
from dualsys.runtime.assembly import Config, checkpoint_folder, policy_config
from dualsys.spec import WorldSpec
from dualsys.system1.depth import EXITS, OWN, Depth, Effort
from dualsys.system1.stepped import SteppedEngine
from kernels.cache import Prepared
from kernels.choose import Choice, choose
from kernels.export import OPSET

if TYPE_CHECKING:
    from dualsys.system1.compiled import Part


NETWORK, ONNX = "network", "onnx"  # drivers that an engine runs


def require_network(config: Config) -> None:
    """Raise `DualsysError` where System 1 is not the network of dualsys."""
    driver = config["system1"]["driver"]
    if driver != NETWORK:
        raise DualsysError(
            f"this is about the network of dualsys, and System 1 is {driver}; leave "
            "system1.driver=network"
        )


def make_engine(config: Config, spec: WorldSpec, build: bool = True) -> Choice:
    """Choose the engine that runs the checkpoint for a world.

    With `build`, engines that are made in seconds are made where they lack; a process that has
    a plant to control opens what is there. Raises `SpecMismatchError` for a checkpoint of another
    world.
    """
    driver = config["system1"]["driver"]
    if driver == ONNX:
        return _engine_of_file(config, spec, build)
    require_network(config)
    import torch

    from dualsys.system1 import checkpoint

    names, threads = tuple(config["engine"]["names"]), config["engine"]["threads"]
    opset = config["engine"]["opset"]
    torch.set_num_threads(threads)
    folder, samples = checkpoint_folder(config, spec), config["system1"]["samples"]
    depth = make_depth(config, checkpoint.load_card(folder).network.layers)
    files = (folder / checkpoint.WEIGHTS, folder / EXITS)
    contents = tuple(checkpoint.digest_of(file) if file.is_file() else None for file in files)
    return _engine(folder, contents, spec, samples, names, threads, opset, build, depth)


def _engine_of_file(config: Config, spec: WorldSpec, build: bool) -> Choice:
    """The engine of a described ONNX file, with the names of System 1's own."""
    from dualsys.system1.described import described_in
    from dualsys.system1.mapped import MappedEngine, Translation

    system1 = config["system1"]
    for key, only in (("samples", 1), ("depth", OWN)):
        if system1[key] != only:
            raise DualsysError(
                f"system1.{key}={system1[key]} is of the network of dualsys, a policy in an ONNX "
                f"file gives one chunk as it is; leave it at {only}"
            )
    found = described_in(checkpoint_folder(config, spec), spec)
    settings = policy_config(config, spec)
    reach = settings.replan_ticks + settings.commit_ticks
    if found.horizon < reach:
        raise DualsysError(
            f"this policy commands {found.horizon} ticks at once, and a new answer acts only "
            f"{reach} ticks after the one before: lower system1.replan_s={system1['replan_s']:g} "
            f"({settings.replan_ticks} ticks), or give hold_ticks in its description"
        )
    require_uncertainty(config, "onnx", found.reports_uncertainty)
    prepared = prepared_file(config, spec)
    choice = choose(config["engine"]["names"], prepared, config["engine"]["threads"], build)
    return Choice(
        MappedEngine(choice.engine, Translation(found, spec)), choice.refused, choice.checked
    )


def prepared_file(config: Config, spec: WorldSpec) -> Prepared:
    """What engines of a described ONNX file are made of, and those that were built."""
    from dualsys.system1.described import described_in, network_of_file

    folder = checkpoint_folder(config, spec)
    network = network_of_file(folder, described_in(folder, spec), spec)
    return Prepared(cache_folder() / "engines", network)


def require_uncertainty(config: Config, driver: str, reported: bool) -> None:
    """Raise `DualsysError` for a trigger that would wait for what a policy never says."""
    asked = config["system2"]["name"] != "none"
    if asked and config["trigger"]["name"] == "uncertainty" and not reported:
        raise DualsysError(
            f"trigger=uncertainty asks when System 1 is unsure, and the policy {driver} reports no "
            "uncertainty: choose trigger=periodic, random, always or never, or have it reported "
            "(docs/bring_your_own_policy.md)"
        )


def make_depth(config: Config, layers: int) -> Depth | None:
    """How deep a tick's flow goes; None: as the network was trained, in one graph.

    `layers` is the number of the network's blocks, which a step takes where no other is given.
    """
    system1 = config["system1"]
    if system1["depth"] == OWN:
        return None
    steps, blocks = system1["depth_steps"], system1["depth_layers"]
    if (blocks and len(blocks) != len(steps)) or max(blocks, default=0) > layers:
        raise DualsysError(
            f"system1.depth_layers={blocks}: give one number from 1 to {layers} for each of "
            f"system1.depth_steps={steps}, or none at all"
        )
    pairs = zip(steps, blocks or [layers] * len(steps), strict=True)
    depth = Depth(
        system1["depth"],
        tuple(Effort(*pair) for pair in pairs),
        tuple(system1["depth_thresholds"]),
        round(1e6 * system1["depth_margin_ms"]),
    )
    depth.check()
    if depth.rule == "time" and config["runtime"]["name"] == "lockstep":
        raise DualsysError(
            "system1.depth=time looks at the clock, and lockstep has none; choose unsure or fixed, "
            "or runtime=realtime"
        )
    return depth


@functools.lru_cache(maxsize=4)  # a worker has many jobs of one System 1
def _engine(
    folder: Path,
    contents: tuple[str | None, ...],  # digests of weights and exits: those of a folder can change
    spec: WorldSpec,
    samples: int,
    names: tuple[str, ...],
    threads: int,
    opset: int,
    build: bool,
    depth: Depth | None,
) -> Choice:
    prepared = functools.partial(prepared_system1, folder, spec, samples, opset=opset)
    if depth is None:
        return choose(names, prepared(), threads, build)
    encode, flows = prepared("encode"), {n: prepared("flow", n) for n in depth.layers}
    return _stepped(names, encode, flows, threads, build, depth, samples)


def _stepped(
    names: Sequence[str],
    encode: Prepared,
    flows: Mapping[int, Prepared],
    threads: int,
    build: bool,
    depth: Depth,
    samples: int,
) -> Choice:
    """The first kind of engine that is usable for all parts."""
    refused: dict[str, str] = {}
    for name in names:
        try:
            first = choose([name], encode, threads, build)
            steps = {n: choose([name], part, threads, build).engine for n, part in flows.items()}
        except UnknownNameError:
            raise
        except DualsysError as error:
            refused[name] = str(error)
            continue
        engine = SteppedEngine(first.engine, steps, depth, samples)
        return Choice(engine, refused, first.checked)
    raise DualsysError(f"no engine of {list(names)} can be used in parts: {refused}")


def prepared_system1(
    folder: Path,
    spec: WorldSpec,
    samples: int,
    part: Part = "whole",
    layers: int | None = None,
    *,
    opset: int = OPSET,
) -> Prepared:
    """What engines of a checkpoint, or of a part of it, are made of, and those that were built.

    `layers`: blocks that a step of the flow takes; None: all. Raises `SpecMismatchError` for a
    checkpoint of another world.
    """
    from dualsys.system1.compiled import network_of

    if samples < 1:
        raise DualsysError(f"system1.samples must be one or more, it is {samples}")
    network = network_of(folder, spec, samples, part, layers)
    return Prepared(cache_folder() / "engines", network, opset)
