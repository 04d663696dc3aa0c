"""TensorRT and CUDA graphs, as far as no GPU is needed: against a driver that is made of Python."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dualsys.environment import cache_folder
from dualsys.errors import DualsysError, SpecMismatchError
from kernels import hardware
from kernels.cuda_run import CudaRun
from kernels.engine import TensorSpec
from kernels.tensorrt_build import TensorrtRecipe
from tests.kernels.fake_gpu import FakeDriver, FakeTensorrt

THREE = TensorSpec((1, 3), "float32")


def pretend(monkeypatch: pytest.MonkeyPatch, memory: int = 1 << 20, **wrong: Any) -> FakeTensorrt:
    driver = FakeDriver(memory)
    library = FakeTensorrt(driver, **wrong)
    bindings = types.ModuleType("cuda.bindings")
    bindings.driver = driver  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cuda", types.ModuleType("cuda"))
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    monkeypatch.setitem(sys.modules, "tensorrt", library)
    monkeypatch.setattr(hardware, "gpu", lambda: {"gpu": "made of Python"})
    return library


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DUALSYS_CACHE", str(tmp_path))


def test_an_engine_runs_as_one_graph_over_buffers_that_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = pretend(monkeypatch)
    engine = TensorrtRecipe("tensorrt", "float32").open(b"plan", 1)
    assert dict(engine.inputs) == {"state": THREE}
    assert dict(engine.outputs) == {"sum": THREE}
    allocated = library.driver.left
    library.driver.calls.clear()
    for number in (1, 2, 3):
        state = np.full((1, 3), number, np.float32)
        np.testing.assert_array_equal(engine.run({"state": state})["sum"], 2 * state)
    assert library.driver.calls == ["graph in", "graph network", "graph out"] * 3
    assert library.driver.left == allocated, "a run takes no memory"
    assert engine.stages_ms() == {"copy_in": 0.25, "network": 0.25, "copy_out": 0.25}
    with pytest.raises(SpecMismatchError, match=r"\(1, 3\).*\(1, 4\)"):
        engine.run({"state": np.zeros((1, 4), np.float32)})


@pytest.mark.parametrize(
    ("wrong", "content", "said"),
    [
        ({}, b"other", r"TensorRT 10.9 can not read this engine \(magic tag.*match\); build it"),
        ({"no_memory": 1}, b"plan", "no memory to run this engine.*nvidia-smi"),
        ({"dynamic": 1}, b"plan", r"'state' is FLOAT \(-1, 3\); engines here have fixed shapes"),
        ({"stuck": 1}, b"plan", "could not run the engine"),
    ],
)
def test_an_engine_that_can_not_run_says_why(
    wrong: dict[str, Any], content: bytes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, **wrong)
    with pytest.raises(DualsysError, match=said):
        TensorrtRecipe("tensorrt", "float32").open(content, 1)


def test_a_full_gpu_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, memory=20)
    with pytest.raises(DualsysError, match=r"CUDA_ERROR_OUT_OF_MEMORY; free the GPU's memory"):
        CudaRun({"state": THREE}, {"sum": THREE})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"no_gpu": 1}, r"finds no usable GPU \(CUDA initialization failure with error: 35\)"),
        ({"unsupported": "No importer for Foo"}, "can not read the graph: No importer for Foo"),
        ({"no_tactic": 1}, "built no engine: no implementation obeys the constraints"),
        ({"open_shape": 1}, r"input 'state' open, \(-1, 3\); .*: export it with them"),
    ],
)
def test_a_build_that_fails_says_why(
    wrong: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, **wrong)
    with pytest.raises(DualsysError, match=said):
        TensorrtRecipe("tensorrt", "float32").build(b"graph", 1)


def test_the_next_build_goes_on_from_the_timings_of_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = pretend(monkeypatch)
    recipe = TensorrtRecipe("tensorrt", "float32")
    for _ in range(2):
        recipe.build(b"graph", 1)
    assert library.recalled == [b"", b"timings 1"]
    monkeypatch.setattr(hardware, "gpu", lambda: {"gpu": "another"})
    recipe.build(b"graph", 1)
    assert library.recalled[2:] == [b""], "another GPU has timings of its own"


@pytest.mark.parametrize("wrong", ["foreign_timings", "damaged_timings"])
def test_timings_that_are_of_no_use_are_measured_anew(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = pretend(monkeypatch, **{wrong: 1})
    for _ in range(2):
        TensorrtRecipe("tensorrt", "float32").build(b"graph", 1)
    assert library.recalled == [b"", b"timings 1", b""]
    (kept,) = (cache_folder() / "engines").glob("tensorrt-*.timings")
    assert kept.read_bytes() == b"timings 1"


@pytest.mark.parametrize(("precision", "set_"), [("float32", set()), ("tf32", {"TF32"})])
def test_tf32_is_on_where_it_was_asked_for_alone(
    precision: str, set_: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    library = pretend(monkeypatch)
    recipe = TensorrtRecipe("tensorrt", precision)
    assert recipe.build(b"graph", 1) == b"plan"
    assert library.set == set_
    assert library.flags == 1 << 2, "strongly typed"
    assert library.profile == {"state": ((1, 3), (1, 3), (1, 3))}
    assert recipe.flags(1) == {"tf32": str(precision == "tf32"), "typed": "strongly"}
    assert recipe.software() == {"tensorrt": "10.9"}


class Layer:
    """A layer of a network as TensorRT 8 shows it."""

    num_outputs, type = 1, "matrix"

    def __init__(self, kind: str) -> None:
        self.kind, self.precision = kind, None

    def get_output(self, number: int) -> Any:
        return types.SimpleNamespace(dtype=self.kind)


def test_before_strong_typing_float_layers_are_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    library = pretend(monkeypatch)
    old = types.SimpleNamespace(EXPLICIT_BATCH=0)
    flags = types.SimpleNamespace(TF32="TF32", FP16="FP16", OBEY_PRECISION_CONSTRAINTS="OBEY")
    for name, value in (
        ("NetworkDefinitionCreationFlag", old),
        ("BuilderFlag", flags),
        ("LayerType", types.SimpleNamespace(SHAPE="shape")),
        ("float32", "float32"),
    ):
        monkeypatch.setattr(library, name, value, raising=False)
    recipe = TensorrtRecipe("tensorrt-fp16", "float16")
    assert recipe.flags(1)["typed"] == "weakly"
    chosen = set[str]()
    config = types.SimpleNamespace(set_flag=chosen.add, clear_flag=chosen.discard)
    layers = [Layer("float32"), Layer("float16")]
    network = types.SimpleNamespace(num_layers=2, get_layer=layers.__getitem__)
    recipe._configure(library, config, network)
    assert chosen == {"FP16", "OBEY"}
    assert [layer.precision for layer in layers] == ["float32", None]
    with pytest.raises(DualsysError, match="does not compute in bfloat16"):
        TensorrtRecipe("tensorrt-bf16", "bfloat16")._configure(library, config, network)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(DualsysError, match=r"install dualsys\[tensorrt\]"):
        TensorrtRecipe("tensorrt", "float32").software()
    with pytest.raises(DualsysError, match="float32 or tf32 or float16 or bfloat16, int3 was"):
        TensorrtRecipe("tensorrt", "int3")
