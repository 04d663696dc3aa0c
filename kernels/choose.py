"""Chooses the engine: the first of the wanted list that can be made and passes the parity gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from dualsys.errors import DualsysError, UnknownNameError
from kernels import parity
from kernels.engine import Engine, TensorSpec
from kernels.export import example_arrays, export_onnx
from kernels.graph_engine import CudaGraphEngine
from kernels.onnx_engine import OnnxEngine
from kernels.openvino_engine import OpenVinoEngine
from kernels.torch_engine import TorchEngine

if TYPE_CHECKING:
    from torch import nn

ENGINES = (
    "onnxruntime",
    "openvino",
    "openvino-bf16",
    "torch-cuda-graph",
    "torch-fused",
    "torch",
)
_PARITY_SAMPLES = 4


class Choice(msgspec.Struct, frozen=True):
    """The engine that will run, and why each one before it in the list will not."""

    engine: Engine
    refused: dict[str, str]


def choose(
    names: Sequence[str], module: nn.Module, inputs: Mapping[str, TensorSpec], threads: int = 1
) -> Choice:
    """Make the first usable engine of `names` for `module(**inputs) -> dict of tensors`.

    Raises `UnknownNameError` for a name that is no engine and `DualsysError` with every reason
    when none is usable.
    """
    for name in names:
        if name not in ENGINES:
            raise UnknownNameError("engine", name, ENGINES)
    reference = TorchEngine(module, inputs)
    refused: dict[str, str] = {}
    for name in names:
        if name == "torch":
            return Choice(reference, refused)
        try:
            engine = _make(name, module, reference, threads)
        except DualsysError as error:
            refused[name] = str(error)
            continue
        samples = [example_arrays(inputs, seed) for seed in range(_PARITY_SAMPLES)]
        fault = parity.compare(engine, reference, samples).fault(engine.precision)
        if fault is None:
            return Choice(engine, refused)
        refused[name] = fault
    raise DualsysError(f"no engine of {list(names)} can be used: {refused}; add torch to the list")


def _make(name: str, module: nn.Module, reference: Engine, threads: int) -> Engine:
    if name == "torch-cuda-graph":
        return CudaGraphEngine(module, reference.inputs, name)
    if name == "torch-fused":
        fused = getattr(module, "fused", None)
        if fused is None:
            raise DualsysError(f"{type(module).__name__} has no form with fused kernels")
        return CudaGraphEngine(fused(), reference.inputs, name)
    model = export_onnx(module, reference.inputs, list(reference.outputs))
    if name == "onnxruntime":
        return OnnxEngine(model, threads)
    return OpenVinoEngine(model, threads, "float32" if name == "openvino" else "bfloat16")
