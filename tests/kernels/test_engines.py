"""Every engine keeps the one contract: named arrays in, named arrays out, equal to torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from dualsys.errors import DualsysError, SpecMismatchError, UnknownNameError
from kernels import parity
from kernels.engine import Engine, TensorSpec
from kernels.export import export_onnx
from kernels.onnx_engine import CPU, OnnxRecipe
from kernels.openvino_engine import OpenVinoRecipe
from kernels.reference import Reference, example_arrays
from kernels.registry import ENGINES, RECIPES
from tests.engines import built_of, choice_of

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


ON_A_GPU = ("torch-cuda", "torch-cuda-graph", "torch-fused")
PROVIDERS = ("onnxruntime-cuda", "onnxruntime-tensorrt")
TENSORRT = ("tensorrt", "tensorrt-tf32", "tensorrt-fp16", "tensorrt-bf16")


def _require(name: str) -> None:
    """Skip, and say what lacks, where an engine's libraries or its GPU are not there."""
    try:
        RECIPES[name].software()
        RECIPES[name].hardware()
    except DualsysError as error:
        pytest.skip(f"{name}: {error}")


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param in ON_A_GPU and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    if request.param in (*PROVIDERS, *TENSORRT):
        _require(request.param)
    try:
        return built_of(request.param, Small(), INPUTS)
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


def test_an_engine_on_a_gpu_tells_what_its_stages_take(engine: Engine) -> None:
    stages = getattr(engine, "stages_ms", None)
    if stages is None:
        pytest.skip("no copies to and from a device")
    found = stages()
    assert list(found) == ["copy_in", "network", "copy_out"]
    assert min(found.values()) >= 0


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
        UnknownNameError, match="onnxruntime, onnxruntime-cuda, onnxruntime-tensorrt, openvino"
    ):
        choice_of(["onxruntime"], Small(), INPUTS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ON_A_GPU)
def test_without_a_gpu_its_engines_are_left_out_and_it_is_said(name: str) -> None:
    choice = choice_of([name, "torch"], Small(), INPUTS)
    assert choice.engine.name == "torch"
    assert f"engine {name} needs a GPU that torch sees, there is none" in choice.refused[name]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", PROVIDERS)
def test_without_a_driver_providers_for_gpus_are_left_out(name: str) -> None:
    choice = choice_of([name, "torch"], Small(), INPUTS)
    assert choice.engine.name == "torch"
    assert "there is no NVIDIA driver" in choice.refused[name]
    assert "choose an engine for processors" in choice.refused[name]


def test_a_provider_that_is_not_installed_is_named() -> None:
    model = export_onnx(Small(), INPUTS, ["sum", "scale"])
    with pytest.raises(DualsysError, match=r"no RocketProvider \(it has .*CPUExecutionProvider"):
        OnnxRecipe("onnxruntime-rocket", "RocketProvider").build(model, 1)


class Plain(torch.nn.Module):
    """Has no fused form."""

    def forward(self, state: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"state": state}


def test_a_module_without_fused_kernels_is_not_run_as_if_it_had_some() -> None:
    choice = choice_of(["torch-fused", "torch"], Plain(), {"state": TensorSpec((1, 2), "float32")})
    assert choice.refused["torch-fused"] == "Plain has no form with fused kernels"


@pytest.mark.parametrize("name", [n for n, recipe in RECIPES.items() if recipe.quick])
def test_a_file_that_is_no_network_is_one_clear_line(name: str) -> None:
    _require(name)
    with pytest.raises(DualsysError, match="can not run this network") as caught:
        RECIPES[name].open(b"no model", 1)
    assert "\n" not in str(caught.value)


def test_openvino_does_not_change_the_precision_in_silence() -> None:
    with pytest.raises(DualsysError, match="float32 or bfloat16, float16 was asked for"):
        OpenVinoRecipe("openvino-fp16", "float16")


class Lying(OnnxRecipe):
    """Its engines answer as if they had been built from other weights."""

    def open(self, content: bytes, threads: int) -> Engine:
        engine = super().open(content, threads)
        run = engine.run
        engine.run = lambda arrays: {n: 1.01 * a + 0.05 for n, a in run(arrays).items()}  # type: ignore[method-assign]
        return engine


def test_an_engine_that_disagrees_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, "onnxruntime", Lying("onnxruntime", CPU))
    choice = choice_of(["onnxruntime", "torch"], Small(), INPUTS)
    assert choice.engine.name == "torch"
    assert "cosine" in choice.refused["onnxruntime"]
    with pytest.raises(DualsysError, match="add torch"):
        choice_of(["onnxruntime"], Small(), INPUTS)


class Fixed:
    """Answers with one array."""

    name, precision, inputs, outputs = "fixed", "float32", {}, {}

    def __init__(self, value: list[float]) -> None:
        self._value = np.array(value, np.float32)

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"chunk": self._value}


def wanted(value: list[float]) -> Reference:
    return Reference([{}], [{"chunk": np.array(value, np.float32)}], True)


@pytest.mark.parametrize("bad", [[1.0, float("nan")], [1.0, 1.1], [-1.0, -1.0], [1.0, 1.0, 1.0]])
def test_parity_finds_every_disagreement(bad: list[float]) -> None:
    fault = parity.compare(Fixed(bad), wanted([1.0, 1.0])).fault("float32")
    assert fault is not None
    assert "chunk" in fault


def test_parity_passes_equal_engines_also_at_zero() -> None:
    assert parity.compare(Fixed([0.0]), wanted([0.0])).fault("float32") is None


def test_an_error_is_told_in_the_outputs_own_units() -> None:
    found = parity.compare(Fixed([3.0, 4.5]), wanted([3.0, 4.0])).outputs["chunk"]
    assert found.error == pytest.approx(0.5)
    assert found.relative_error == pytest.approx(0.5 / np.sqrt(12.5))
