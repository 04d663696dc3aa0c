"""System 1 as engines see it: one pass of a checkpoint, and inputs that it has met at work."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import numpy as np

import dualsys
from dualsys.errors import DualsysError
from dualsys.spec import WorldSpec, require_same
from dualsys.system1 import checkpoint
from dualsys.system1.sampler import sampler_inputs
from kernels.network import Arrays, Made, Network
from kernels.reference import RECORDED, apart

_CODE = ("system1/network.py", "system1/encoder.py", "system1/sampler.py", "flow.py")


def network_of(folder: Path, spec: WorldSpec, samples: int) -> Network:
    """The pass of a checkpoint with so many samples.

    Raises `DualsysError` where there is no checkpoint, `SpecMismatchError` for another world's.
    """
    card = checkpoint.load_card(folder)
    require_same(spec, card.spec, "the world", f"the checkpoint {folder}")
    weights = (folder / checkpoint.WEIGHTS).read_bytes()
    recorded = folder / RECORDED
    identity = {
        "weights": hashlib.sha256(weights).hexdigest()[:16],
        "recorded": _digest(recorded) if recorded.is_file() else "nothing",
        "samples": str(samples),
        "code": _code(),
    }

    def make() -> Made:
        sampler, _ = checkpoint.load(folder, spec, samples)
        return sampler, sampler_inputs(sampler)

    return Network(identity, make, lambda: recorded_inputs(folder, samples))


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


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


@functools.cache
def _code() -> str:
    """Digest of the modules that the graph comes from."""
    root = Path(dualsys.__file__).parent
    return hashlib.sha256(b"".join((root / name).read_bytes() for name in _CODE)).hexdigest()[:16]
