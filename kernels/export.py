"""Export a torch module with named, fixed-shape inputs to ONNX; the graph is checked before use."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dualsys.errors import DualsysError
from kernels.engine import TensorSpec
from kernels.reference import example_arrays

if TYPE_CHECKING:
    from torch import nn

OPSET = 17  # the newest that the parsers of older deployments (TensorRT 8.5) still read


def export_onnx(
    module: nn.Module, inputs: Mapping[str, TensorSpec], outputs: Sequence[str], opset: int = OPSET
) -> bytes:
    """Return `module(**inputs) -> {outputs}` as an ONNX model with those names.

    Flow times are constants of the loop, so a runtime folds all that depends on them alone.
    Raises `DualsysError` when the exporter or the checker refuses the graph.
    """
    try:
        import onnx
    except ImportError as error:
        raise DualsysError(f"ONNX export needs the extra `onnx` ({error})") from error
    import torch

    newest = onnx.defs.onnx_opset_version()
    if not 7 <= opset <= newest:  # the exporter would print its whole graph first
        raise DualsysError(f"there is no ONNX opset {opset} to write; take one from 7 to {newest}")
    names = list(inputs)

    class Positional(torch.nn.Module):
        """The exporter wants positional arguments and a tuple."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, *arguments: torch.Tensor) -> tuple[Any, ...]:
            found = self.inner(**dict(zip(names, arguments, strict=True)))
            return tuple(found[name] for name in outputs)

    arguments = tuple(torch.from_numpy(array) for array in example_arrays(inputs).values())
    file = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own deprecations and tracer notes
            torch.onnx.export(
                Positional().eval(),
                arguments,
                file,  # type: ignore[arg-type]  # a stream is taken, the annotation forgot it
                input_names=names,
                output_names=list(outputs),
                opset_version=opset,
                dynamo=False,
            )
        onnx.checker.check_model(onnx.load_from_string(file.getvalue()), full_check=True)
    except (RuntimeError, onnx.checker.ValidationError) as error:
        raise DualsysError(f"the network cannot be exported to ONNX: {error}") from error
    return file.getvalue()
