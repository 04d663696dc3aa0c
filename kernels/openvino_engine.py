"""OpenVINO engine for processors. The precision really used is checked: a hint is only a hint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np

from dualsys.errors import DualsysError
from kernels import hardware
from kernels.engine import Engine, TensorSpec, check_inputs
from kernels.recipe import require_precision

PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


class _File(msgspec.Struct, frozen=True):
    """A compiled model and the names of its ports: OpenVINO renames those that it folds away."""

    inputs: list[str]
    outputs: list[str]
    model: bytes


class OpenVinoEngine:
    """A compiled model with fixed shapes, inputs and outputs without a copy."""

    def __init__(self, compiled: Any, file: _File, name: str, precision: str) -> None:
        self.name, self.precision = name, precision
        self._request = compiled.create_infer_request()
        self.inputs: Mapping[str, TensorSpec] = _specs(file.inputs, compiled.inputs)
        self.outputs: Mapping[str, TensorSpec] = _specs(file.outputs, compiled.outputs)
        # Views of the request's own memory, which it keeps from run to run.
        self._found = {
            output: self._request.get_output_tensor(place).data
            for place, output in enumerate(file.outputs)
        }

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the model once. Raises `SpecMismatchError` unless the arrays are `inputs`."""
        check_inputs(self.inputs, arrays)
        given = {place: arrays[name] for place, name in enumerate(self.inputs)}
        self._request.infer(given, share_inputs=True, share_outputs=True)
        return dict(self._found)


class OpenVinoRecipe:
    """Through OpenVINO on a processor, in float32, or in bfloat16 where it multiplies in that."""

    quick = True

    def __init__(self, name: str, precision: str) -> None:
        require_precision(name, precision, PRECISIONS)
        self.name, self.precision = name, precision

    def flags(self, threads: int) -> dict[str, str]:
        """Threads; the precision stands by itself."""
        return {"threads": str(threads)}

    def software(self) -> dict[str, str]:
        """OpenVINO's version."""
        return {"openvino": str(_openvino().__version__)}

    def hardware(self) -> dict[str, str]:
        """The processor."""
        return hardware.processor()

    def build(self, graph: bytes, threads: int) -> bytes:
        """The compiled model, and what its ports are called."""
        core = _openvino().Core()
        with _refused():
            model = core.read_model(graph)
            inputs, outputs = (
                [port.get_any_name() for port in ports] for ports in (model.inputs, model.outputs)
            )
            compiled = core.compile_model(model, "CPU", self._settings(threads))
            self._require(core, compiled)
            file = _File(inputs, outputs, compiled.export_model().getvalue())
        return msgspec.msgpack.encode(file)

    def open(self, content: bytes, threads: int) -> Engine:
        """The compiled model again."""
        core = _openvino().Core()
        with _refused():
            file = msgspec.msgpack.decode(content, type=_File)
            compiled = core.import_model(file.model, "CPU", self._settings(threads))
            self._require(core, compiled)
        return OpenVinoEngine(compiled, file, self.name, self.precision)

    def _settings(self, threads: int) -> dict[Any, Any]:
        properties = _openvino().properties
        return {
            properties.hint.inference_precision: self._type(),
            properties.hint.performance_mode: properties.hint.PerformanceMode.LATENCY,
            # Where a process may run is the supervisor's affair.
            properties.hint.enable_cpu_pinning: False,
            properties.inference_num_threads: threads,
            properties.num_streams: 1,
        }

    def _type(self) -> Any:
        return getattr(_openvino().Type, PRECISIONS[self.precision])

    def _require(self, core: Any, compiled: Any) -> None:
        properties = _openvino().properties
        used = compiled.get_property(properties.hint.inference_precision)
        has = "BF16" in core.get_property("CPU", properties.device.capabilities)
        if used != self._type() or (self.precision == "bfloat16" and not has):
            raise DualsysError(
                f"OpenVINO was asked for {self.precision} and would compute in {used.to_string()} "
                "on this processor; choose engine openvino, which computes in float32"
            )


@contextmanager
def _refused() -> Iterator[None]:
    """What OpenVINO raises, as one line."""
    try:
        yield
    except (RuntimeError, msgspec.DecodeError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise DualsysError(f"OpenVINO can not run this network: {reason}") from error


def _openvino() -> Any:
    try:
        import openvino
        import openvino.properties
    except ImportError as error:
        raise DualsysError(
            f"engine openvino needs the extra `openvino` ({error}); install dualsys[openvino]"
        ) from error
    return openvino


def _specs(names: list[str], ports: list[Any]) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(tuple(port.get_shape()), port.get_element_type().to_dtype().name)
        for name, port in zip(names, ports, strict=True)
    }
