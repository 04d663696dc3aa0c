"""System 1 as engines see it: one pass of a checkpoint, and inputs that it has met at work."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Literal

import numpy as np

import dualsys
from dualsys.errors import DualsysError
from dualsys.spec import WorldSpec, require_same
from dualsys.system1 import checkpoint, exits
from dualsys.system1.checkpoint import digest_of
from dualsys.system1.depth import EXITS
from dualsys.system1.exits import Exit
from dualsys.system1.parts import FlowStep, Preprocessing, parts, preprocessing_inputs, step_inputs
from dualsys.system1.sampler import IMAGE, Sampler, sampler_inputs
from kernels.network import Arrays, Made, Network
from kernels.reference import RECORDED, apart
from kernels.torch_engine import TorchEngine

Part = Literal["whole", "preprocess", "encode", "flow"]
"""The pass as one graph; its pictures' preparation; the encoder with it; one step of the flow."""

_CODE = (
    *("system1/network.py", "system1/encoder.py", "system1/sampler.py", "system1/parts.py"),
    *("system1/exits.py", "flow.py"),
)


def network_of(
    folder: Path, spec: WorldSpec, samples: int, part: Part = "whole", layers: int | None = None
) -> Network:
    """The pass of a checkpoint with so many samples, or a part of it.

    A step of the flow takes its first `layers` blocks; None: all of them, with no early exit.
    Raises `DualsysError` where there is no checkpoint or no such exit, `SpecMismatchError` for
    another world's.
    """
    card = checkpoint.load_card(folder)
    require_same(spec, card.spec, "the world", f"the checkpoint {folder}")
    recorded = folder / RECORDED
    identity = {
        "part": part,
        "weights": digest_of(folder / checkpoint.WEIGHTS),
        "recorded": digest_of(recorded) if recorded.is_file() else "nothing",
        "samples": str(samples),
        "code": _code(),
    }
    early = None
    if part == "flow" and layers not in (None, card.network.layers):
        early = exit_at(folder, layers)
        identity |= {"layers": str(layers), "exits": digest_of(folder / EXITS)}

    def made() -> Made:
        sampler, _ = checkpoint.load(folder, spec, samples)
        return part_of(sampler, part, early)

    def met() -> list[Arrays]:
        return part_inputs(recorded_inputs(folder, samples), part, folder, samples)

    return Network(identity, made, met)


def exit_at(folder: Path, layers: int | None) -> Exit:
    """The early exit of a checkpoint behind so many blocks. Raises `DualsysError` without one."""
    found, _ = exits.load(folder, digest_of(folder / checkpoint.WEIGHTS))
    for early in found:
        if early.layers == layers:
            return early
    raise DualsysError(
        f"{folder} has early exits behind {[early.layers for early in found]} blocks, none behind "
        f"{layers}"
    )


def part_of(sampler: Sampler, part: Part, early: Exit | None = None) -> Made:
    """The module of a part, and its inputs; a step of the flow goes as far as `early`."""
    if part == "whole":
        return sampler, sampler_inputs(sampler)
    if part == "preprocess":
        return Preprocessing(), preprocessing_inputs(sampler)
    encoder, inputs, _ = parts(sampler)
    if part == "encode":
        return encoder, inputs
    return FlowStep(sampler, early), step_inputs(TorchEngine(encoder, inputs).outputs)


def part_inputs(met: list[Arrays], part: Part, folder: Path, samples: int) -> list[Arrays]:
    """What a part meets where the whole meets `met`; of the flow, its first step."""
    if part in ("whole", "encode") or not met:
        return met
    if part == "preprocess":
        return [{n: a for n, a in arrays.items() if n.startswith(IMAGE)} for arrays in met]
    sampler, _ = checkpoint.load(folder, None, samples)
    encoder, inputs, _ = parts(sampler)
    engine, steps = TorchEngine(encoder, inputs), sampler.network.config.flow_steps
    known = {"tau": np.zeros(1, np.float32), "size": np.full(1, 1 / steps, np.float32)}
    found = []
    for arrays in met:
        seen = engine.run(arrays)
        kept = {name: seen[name].copy() for name in ("fixed", "keys", "values")}
        found.append({"x": seen["source"].copy(), **kept, **known})
    return found


def recorded_inputs(folder: Path, samples: int) -> list[Arrays]:
    """What was recorded beside the weights; the noise, which is drawn, is not kept but drawn."""
    file = folder / RECORDED
    if not file.is_file():
        return []
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found = apart(load_file(file))
    except SafetensorError as error:
        raise DualsysError(f"{file} can not be read: {error}; record it again") from error
    for number, arrays in enumerate(found):
        shape = (samples, *arrays["candidate"].shape[1:])
        arrays["noise"] = np.random.default_rng(number).standard_normal(shape, np.float32)
    return found


@functools.cache
def _code() -> str:
    """Digest of the modules that the graph comes from."""
    root = Path(dualsys.__file__).parent
    return hashlib.sha256(b"".join((root / name).read_bytes() for name in _CODE)).hexdigest()[:16]
