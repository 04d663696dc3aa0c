"""Every engine keeps the one contract: named arrays in, named arrays out, equal to torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from dualsys.errors import DualsysError, SpecMismatchError, UnknownNameError
from kernels import choose as choosing
from kernels import parity
from kernels.choose import ENGINES, choose
from kernels.engine import Engine, TensorSpec
from kernels.export import example_arrays, export_onnx
from kernels.onnx_engine import OnnxEngine
from kernels.openvino_engine import OpenVinoEngine

INPUTS = {"image": TensorSpec((1, 8, 8, 3), "uint8"), "state": TensorSpec((1, 5), "float32")}


class Small(torch.nn.Module):
    """Both kinds of input and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.seen, self.known = torch.nn.Linear(192, 6), torch.nn.Linear(5, 6)

    def forward(self, image: torch.Tensor, state: torch.Tensor) -> dict[str, torch.Tensor]:
        seen = self.seen(image.flatten(1).float() / 255)
        return {"sum": seen + self.known(state), "scale": seen.exp()}

    def fused(self) -> Small:
        return self


ON_A_GPU = ("torch-cuda-graph", "torch-fused")


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param in ON_A_GPU and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    try:
        return choose([request.param], Small(), INPUTS).engine
    except DualsysError as error:
        if "would compute in" not in str(error):
            raise
        pytest.skip(f"this processor does not multiply in bfloat16: {error}")


def test_the_engine_is_the_one_that_was_asked_for(
    engine: Engine, request: pytest.FixtureRequest
) -> None:
    assert engine.name == request.node.callspec.params["engine"]
    assert dict(engine.inputs) == INPUTS
    assert {n: s.shape for n, s in engine.outputs.items()} == {"sum": (1, 6), "scale": (1, 6)}


def test_engines_agree_with_torch(engine: Engine) -> None:
    arrays = example_arrays(INPUTS, 7)
    with torch.inference_mode():
        wanted = Small()(**{n: torch.from_numpy(a) for n, a in arrays.items()})
    found = engine.run(arrays)
    relative, absolute = {"float32": (1e-5, 1e-6), "bfloat16": (2e-2, 2e-2)}[engine.precision]
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value.numpy(), rtol=relative, atol=absolute)


def test_equal_inputs_give_equal_bytes(engine: Engine) -> None:
    one = {n: a.copy() for n, a in engine.run(example_arrays(INPUTS)).items()}
    two = engine.run(example_arrays(INPUTS))
    assert all(one[name].tobytes() == two[name].tobytes() for name in one)


def test_read_only_arrays_are_taken(engine: Engine) -> None:
    arrays = example_arrays(INPUTS)
    for array in arrays.values():
        array.flags.writeable = False
    assert np.isfinite(engine.run(arrays)["sum"]).all()


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("state", np.zeros((1, 6), np.float32), r"\(1, 5\).*\(1, 6\)"),
        ("state", np.zeros((1, 5), np.float64), r"float32.*float64"),
        ("wheels", np.zeros((1, 5), np.float32), r"image.*state.*wheels"),
    ],
)
def test_wrong_inputs_are_refused_with_both_sides(
    engine: Engine, name: str, array: np.ndarray, said: str
) -> None:
    with pytest.raises(SpecMismatchError, match=said):
        engine.run({**example_arrays(INPUTS), name: array})


def test_an_unknown_engine_lists_the_known_ones() -> None:
    with pytest.raises(
        UnknownNameError, match="onnxruntime, openvino, openvino-bf16, torch, torch-"
    ):
        choose(["onxruntime"], Small(), INPUTS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ON_A_GPU)
def test_without_a_gpu_its_engines_are_left_out_and_it_is_said(name: str) -> None:
    choice = choose([name, "torch"], Small(), INPUTS)
    assert choice.engine.name == "torch"
    assert f"engine {name} needs a GPU that torch sees, there is none" in choice.refused[name]


def test_a_module_without_fused_kernels_is_not_run_as_if_it_had_some() -> None:
    plain = torch.nn.Identity()
    with pytest.raises(DualsysError, match="Identity has no form with fused kernels"):
        choosing._make("torch-fused", plain, Fixed([0.0]), 1)


def test_openvino_does_not_change_the_precision_in_silence() -> None:
    model = export_onnx(Small(), INPUTS, ["sum", "scale"])
    with pytest.raises(DualsysError, match="float32 or bfloat16, float16 was asked for"):
        OpenVinoEngine(model, precision="float16")
    with pytest.raises(DualsysError, match="can not run this network"):
        OpenVinoEngine(b"no model")


class Lying:
    """An engine that was built from other weights."""

    name, precision = "onnxruntime", "float32"

    def __init__(self, model: bytes, threads: int) -> None:
        self._inner = OnnxEngine(model, threads)
        self.inputs, self.outputs = self._inner.inputs, self._inner.outputs

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: 1.01 * value + 0.05 for name, value in self._inner.run(arrays).items()}


def test_an_engine_that_disagrees_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "OnnxEngine", Lying)
    choice = choose(["onnxruntime", "torch"], Small(), INPUTS)
    assert choice.engine.name == "torch"
    assert "cosine" in choice.refused["onnxruntime"]
    with pytest.raises(DualsysError, match="add torch"):
        choose(["onnxruntime"], Small(), INPUTS)


class Fixed:
    """Answers with one array."""

    name, precision, inputs, outputs = "fixed", "float32", {}, {}

    def __init__(self, value: list[float]) -> None:
        self._value = np.array(value, np.float32)

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"chunk": self._value}


@pytest.mark.parametrize("bad", [[1.0, float("nan")], [1.0, 1.1], [-1.0, -1.0], [1.0, 1.0, 1.0]])
def test_parity_finds_every_disagreement(bad: list[float]) -> None:
    found = parity.compare(Fixed(bad), Fixed([1.0, 1.0]), [{}])
    fault = found.fault("float32")
    assert fault is not None
    assert "chunk" in fault


def test_parity_passes_equal_engines_also_at_zero() -> None:
    assert parity.compare(Fixed([0.0]), Fixed([0.0]), [{}]).fault("float32") is None
