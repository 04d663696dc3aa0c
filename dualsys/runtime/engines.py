"""From a configuration to the engine that runs System 1: which parts, how deep, and from where."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dualsys.environment import cache_folder
from dualsys.errors import DualsysError, UnknownNameError
from dualsys.runtime.assembly import Config, checkpoint_folder
from dualsys.runtime.thresholds import weights_digest
from dualsys.spec import WorldSpec
from dualsys.system1.depth import OWN, Depth
from dualsys.system1.stepped import SteppedEngine
from kernels.cache import Prepared
from kernels.choose import Choice, choose

if TYPE_CHECKING:
    from dualsys.system1.compiled import Part


def make_engine(config: Config, spec: WorldSpec, build: bool = True) -> Choice:
    """Choose the engine that runs the checkpoint for a world.

    With `build`, engines that are made in seconds are made where they lack; a process that has
    a plant to control opens what is there. Raises `SpecMismatchError` for a checkpoint of another
    world.
    """
    import torch

    names, threads = tuple(config["engine"]["names"]), config["engine"]["threads"]
    torch.set_num_threads(threads)
    folder, samples = checkpoint_folder(config, spec), config["system1"]["samples"]
    weights, depth = weights_digest(folder), make_depth(config)
    return _engine(folder, weights, spec, samples, names, threads, build, depth)


def make_depth(config: Config) -> Depth | None:
    """How many steps a tick's flow takes; None: as the network was trained, in one graph."""
    system1 = config["system1"]
    if system1["depth"] == OWN:
        return None
    steps, thresholds = system1["depth_steps"], system1["depth_thresholds"]
    margin = round(1e6 * system1["depth_margin_ms"])
    depth = Depth(system1["depth"], tuple(steps), tuple(thresholds), margin)
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
    contents: str | None,  # digest of the weights: those of a folder can change
    spec: WorldSpec,
    samples: int,
    names: tuple[str, ...],
    threads: int,
    build: bool,
    depth: Depth | None,
) -> Choice:
    if depth is None:
        return choose(names, prepared_system1(folder, spec, samples), threads, build)
    encode, flow = (prepared_system1(folder, spec, samples, part) for part in ("encode", "flow"))
    return _stepped(names, encode, flow, threads, build, depth, samples)


def _stepped(
    names: Sequence[str],
    encode: Prepared,
    flow: Prepared,
    threads: int,
    build: bool,
    depth: Depth,
    samples: int,
) -> Choice:
    """The first kind of engine that is usable for both parts."""
    refused: dict[str, str] = {}
    for name in names:
        try:
            first, second = (choose([name], part, threads, build) for part in (encode, flow))
        except UnknownNameError:
            raise
        except DualsysError as error:
            refused[name] = str(error)
            continue
        engine = SteppedEngine(first.engine, second.engine, depth, samples)
        return Choice(engine, refused, first.checked)
    raise DualsysError(f"no engine of {list(names)} can be used in two parts: {refused}")


def prepared_system1(folder: Path, spec: WorldSpec, samples: int, part: Part = "whole") -> Prepared:
    """What engines of a checkpoint, or of a part of it, are made of, and those that were built.

    Raises `SpecMismatchError` for a checkpoint of another world.
    """
    from dualsys.system1.compiled import network_of

    if samples < 1:
        raise DualsysError(f"system1.samples must be one or more, it is {samples}")
    return Prepared(cache_folder() / "engines", network_of(folder, spec, samples, part))
