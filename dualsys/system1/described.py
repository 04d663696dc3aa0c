"""System 1 from an ONNX file and its description, as engines see it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from dualsys.errors import DualsysError
from dualsys.spec import WorldSpec
from dualsys.system1.description import FILE, Description, check, load
from dualsys.system1.mapped import Translation
from kernels.engine import TensorSpec
from kernels.network import Arrays, Made, Network
from kernels.onnx_file import read_model
from kernels.reference import RECORDED, apart


def described_in(folder: Path, spec: WorldSpec) -> Description:
    """The description in a folder, which fits the world."""
    found = load(folder)
    check(found, spec, f"the policy {folder / FILE}")
    return found


def network_of_file(folder: Path, found: Description, spec: WorldSpec) -> Network:
    """The network of a described ONNX file, for engines to be made of."""
    inputs, outputs = (
        {name: TensorSpec(port.shape, port.dtype) for name, port in ports.items()}
        for ports in (found.inputs, found.outputs)
    )
    model = read_model(folder / found.model, inputs, outputs)
    recorded = folder / RECORDED
    identity = {
        "part": "an ONNX file",
        "model": _digest(model),
        "description": _digest(msgspec.json.encode(found)),
        "recorded": _digest(recorded.read_bytes()) if recorded.is_file() else "nothing",
    }
    return Network(identity, _no_module, lambda: _recorded(recorded, found, spec), lambda: model)


def _recorded(file: Path, found: Description, spec: WorldSpec) -> list[Arrays]:
    """What System 1 met at work, as the network is fed; none where nobody recorded any."""
    if not file.is_file():
        return []
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    between = Translation(found, spec)
    try:
        met = apart(load_file(file))
        for number, arrays in enumerate(met):
            noise = between.inputs["noise"].shape
            arrays["noise"] = np.random.default_rng(number).standard_normal(noise, np.float32)
        return [between.given(arrays) for arrays in met]
    except (SafetensorError, KeyError, ValueError) as error:
        raise DualsysError(f"{file} can not be read: {error}; record it again") from error


def _no_module() -> Made:
    raise DualsysError(
        "this policy is an ONNX file, torch has no module of it; choose engine=onnxruntime, "
        "openvino or another that is built from a graph"
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
