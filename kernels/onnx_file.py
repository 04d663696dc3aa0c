"""A network that came as an ONNX file: read, held against its description, made of fixed shapes.

There is no torch module to compare engines with. What is checked instead: the file's own graph, run
node by node by ONNX Runtime without any optimisation, gives the shapes that are described, finite
numbers, and the same bits twice; every engine has to agree with that within the table of
tolerances. A mistake that is in the file itself is in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dualsys.errors import DualsysError, SpecMismatchError
from kernels.engine import TensorSpec
from kernels.network import Arrays
from kernels.onnx_engine import CPU, OnnxEngine
from kernels.reference import RANDOM, Reference, example_arrays

MEASURE = "ONNX Runtime without optimisation (there is no torch module)"


def read_model(
    file: Path, inputs: Mapping[str, TensorSpec], outputs: Mapping[str, TensorSpec]
) -> bytes:
    """The file's graph with the described shapes as fixed ones.

    Weights in files beside it are taken in. Raises `DualsysError` for a file that is no ONNX model,
    `SpecMismatchError` for one with other inputs or outputs than described.
    """
    onnx = _onnx()
    try:
        model = onnx.load(file)
        onnx.checker.check_model(model, full_check=False)
    except Exception as error:  # protobuf, the checker and the reader of weights: no common class
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise DualsysError(f"{file} is no ONNX model that can be read: {told[0]}") from error
    weights = {tensor.name for tensor in model.graph.initializer}
    fed = [port for port in model.graph.input if port.name not in weights]
    _fix(f"{file}: input", fed, inputs)
    _fix(f"{file}: output", model.graph.output, outputs)
    del model.graph.value_info[:]  # shapes between, of the dimensions that were open
    try:
        content: bytes = onnx.shape_inference.infer_shapes(model).SerializeToString()
    except Exception as error:
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise DualsysError(
            f"{file} can not have the shapes that its description gives: {told[0]}"
        ) from error
    return content


def reference_of_file(model: bytes, recorded: list[Arrays]) -> Reference:
    """What the graph answers, run plainly; raises `DualsysError` for one that is no measure.

    Not finite, or different when it is asked again: then no engine could be compared with it.
    """
    engine = OnnxEngine(model, 1, CPU, name=MEASURE, optimised=False)
    inputs = recorded or [example_arrays(engine.inputs, seed) for seed in range(RANDOM)]
    outputs = []
    for arrays in inputs:
        first, second = ({n: a.copy() for n, a in engine.run(arrays).items()} for _ in range(2))
        for name, spec in engine.outputs.items():
            found = first[name]
            if found.shape != spec.shape:
                raise SpecMismatchError(
                    f"the model's output {name!r} has the shape {found.shape}, its description "
                    f"says {spec.shape}"
                )
            if not np.isfinite(found).all():
                raise DualsysError(
                    f"the model's output {name!r} is not finite for "
                    f"{'a recorded' if recorded else 'a random'} input; mend or retrain the network"
                )
            if not np.array_equal(found, second[name]):
                raise DualsysError(
                    f"the model's output {name!r} is another one when the same is asked again: it "
                    "draws numbers of its own; give it its noise as an input (from: noise)"
                )
        outputs.append(first)
    return Reference(inputs, outputs, bool(recorded), MEASURE)


def _fix(where: str, ports: Any, described: Mapping[str, TensorSpec]) -> None:
    """Write the described shapes over the open dimensions; both sides are named where they differ.

    A dimension without a number (a batch, say) takes the one that is described.
    """
    there = {port.name: _spec_of(port) for port in ports}
    if set(there) != set(described):
        raise SpecMismatchError(
            f"{where}s of the model are {_told(there)}, its description has {_told(described)}; "
            "describe exactly those"
        )
    for port in ports:
        (shape, dtype), wanted = there[port.name], described[port.name]
        tensor = port.type.tensor_type
        if not tensor.HasField("shape"):  # not even the number of dimensions is known
            for _ in wanted.shape:
                tensor.shape.dim.add()
            shape = (None,) * len(wanted.shape)
        fits = len(shape) == len(wanted.shape) and all(
            known in (None, size) for known, size in zip(shape, wanted.shape, strict=False)
        )
        if not fits or dtype != wanted.dtype:
            raise SpecMismatchError(
                f"{where} {port.name!r} of the model is {dtype} {_shape(shape)}, its description "
                f"says {wanted.dtype} {wanted.shape}"
            )
        for dimension, size in zip(port.type.tensor_type.shape.dim, wanted.shape, strict=True):
            dimension.dim_value = size  # of the same choice as `dim_param`: that is gone


def _spec_of(port: Any) -> tuple[tuple[int | None, ...], str]:
    """Shape and dtype of a port; None for an open dimension."""
    tensor = port.type.tensor_type
    shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    dtype = _onnx().helper.tensor_dtype_to_np_dtype(tensor.elem_type) if tensor.elem_type else None
    return shape, str(dtype)


def _told(ports: Mapping[str, Any]) -> str:
    return ", ".join(ports) or "none"


def _shape(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in shape)})"


def _onnx() -> Any:
    try:
        import onnx
        import onnx.checker
        import onnx.shape_inference
    except ImportError as error:
        raise DualsysError(
            f"a policy in an ONNX file needs the extra `onnx` ({error}); install dualsys[onnx]"
        ) from error
    return onnx
