"""Engines' files: kept once, opened by others, refused where they were built for something else."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from dualsys.errors import DualsysError
from kernels import hardware
from kernels.cache import NotBuiltError, Prepared
from kernels.choose import built, choose, identity_of, opened
from kernels.engine import Engine
from kernels.manifest import Manifest, differences
from kernels.onnx_engine import CPU, OnnxRecipe
from kernels.reference import example_arrays
from kernels.registry import RECIPES
from tests.engines import prepared_of
from tests.kernels.test_engines import INPUTS, Small

FILES = [name for name in ("onnxruntime", "openvino") if name in RECIPES]


def folder_of(tmp_path: Path, **identity: str) -> Prepared:
    return prepared_of(Small(), INPUTS, tmp_path, **identity)


def answer(engine: Engine) -> bytes:
    return engine.run(example_arrays(INPUTS, 5))["sum"].tobytes()


@pytest.mark.parametrize("name", FILES)
def test_what_one_process_built_another_opens_without_the_module(name: str, tmp_path: Path) -> None:
    first = opened(folder_of(tmp_path), name, 1, build=True)
    second = folder_of(tmp_path)
    second.network.__dict__["make"] = lambda: pytest.fail("the module was made again")
    assert answer(opened(second, name, 1, build=False)) == answer(first)


def test_where_nothing_was_built_a_control_process_builds_nothing(tmp_path: Path) -> None:
    prepared = folder_of(tmp_path)
    with pytest.raises(NotBuiltError, match="not built for this network; build it with `dualsys"):
        opened(prepared, "onnxruntime", 1, build=False)
    choice = choose(["onnxruntime", "torch"], prepared, 1, build=False)
    assert choice.engine.name == "torch"
    assert not list(tmp_path.rglob("*.engine"))


class Slow(OnnxRecipe):
    quick = False


def test_engines_that_take_long_are_built_by_the_command_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECIPES, "slow", Slow("slow", CPU))
    prepared = folder_of(tmp_path)
    with pytest.raises(NotBuiltError):
        opened(prepared, "slow", 1, build=True)
    built(prepared, "slow", 1)
    assert opened(prepared, "slow", 1, build=True).name == "slow"


def test_a_file_of_another_driver_is_refused_and_both_sides_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECIPES, "slow", Slow("slow", CPU))
    prepared = folder_of(tmp_path)
    there = {"gpu": "H200", "driver": "570.1"}
    monkeypatch.setattr(hardware, "processor", lambda: there)
    built(prepared, "slow", 1)
    monkeypatch.setattr(hardware, "processor", lambda: {**there, "driver": "580.2"})
    said = r"built for something else \(hardware driver: 570.1, here 580.2\); build it with"
    with pytest.raises(NotBuiltError, match=said):
        opened(prepared, "slow", 1, build=True)
    monkeypatch.setattr(hardware, "processor", lambda: there)
    assert opened(prepared, "slow", 1, build=False).name == "slow"


def test_other_threads_are_another_engine_and_both_are_kept(tmp_path: Path) -> None:
    prepared = folder_of(tmp_path)
    for threads in (1, 2, 1):
        opened(prepared, "onnxruntime", threads, build=True)
    assert len(list(tmp_path.rglob("*.engine"))) == 2


def test_another_opset_is_another_engine_that_answers_alike(tmp_path: Path) -> None:
    answers = []
    for opset in (17, 20):
        prepared = prepared_of(Small(), INPUTS, tmp_path, opset=opset)
        assert onnx.load_from_string(prepared.graph).opset_import[0].version == opset
        answers.append(answer(opened(prepared, "onnxruntime", 1, build=True)))
    assert answers[0] == answers[1]
    assert len(list(tmp_path.rglob("*.engine"))) == 2
    for opset in (0, 99):
        with pytest.raises(DualsysError, match=f"no ONNX opset {opset} to write; take one from 7"):
            prepared_of(Small(), INPUTS, tmp_path, opset=opset).graph  # noqa: B018


def test_another_network_has_a_folder_of_its_own(tmp_path: Path) -> None:
    opened(folder_of(tmp_path), "onnxruntime", 1, build=True)
    with pytest.raises(NotBuiltError):
        opened(folder_of(tmp_path, samples="4"), "onnxruntime", 1, build=False)


def test_a_damaged_file_is_refused_and_the_next_engine_runs(tmp_path: Path) -> None:
    prepared = folder_of(tmp_path)
    opened(prepared, "onnxruntime", 1, build=True)
    file = next(tmp_path.rglob("*.engine"))
    file.write_bytes(file.read_bytes()[:-9])
    choice = choose(["onnxruntime", "torch"], prepared, 1, build=True)
    assert choice.engine.name == "torch"
    assert "is damaged" in choice.refused["onnxruntime"]
    assert "delete it and run `dualsys build`" in choice.refused["onnxruntime"]


@pytest.mark.parametrize("content", [b"{}", b"no json", b'{"identity": 3}'])
def test_a_file_that_is_no_manifest_is_refused(content: bytes, tmp_path: Path) -> None:
    prepared = folder_of(tmp_path)
    opened(prepared, "onnxruntime", 1, build=True)
    next(tmp_path.rglob("*-????????????????.json")).write_bytes(content)
    with pytest.raises(DualsysError, match=r"is no engine's manifest.*delete it"):
        opened(prepared, "onnxruntime", 1, build=True)


def test_a_manifest_that_was_renamed_does_not_pass_for_another(tmp_path: Path) -> None:
    prepared = folder_of(tmp_path)
    opened(prepared, "onnxruntime", 1, build=True)
    other = identity_of(prepared, RECIPES["onnxruntime"], 2).key
    for file in list(tmp_path.rglob("onnxruntime-*")):
        file.rename(file.with_name(other + file.suffix))
    with pytest.raises(DualsysError, match=r"another engine .flags threads: 1, here 2"):
        opened(prepared, "onnxruntime", 2, build=True)


def test_a_manifest_tells_all_that_the_file_depends_on(tmp_path: Path) -> None:
    prepared = folder_of(tmp_path)
    opened(prepared, "onnxruntime", 1, build=True)
    told = next(tmp_path.rglob("onnxruntime-*.json"))
    manifest = msgspec.json.decode(told.read_bytes(), type=Manifest)
    assert manifest.identity.inputs == INPUTS
    assert manifest.identity.flags == {"threads": "1", "provider": CPU}
    assert manifest.identity.software.keys() == {"onnxruntime"}
    assert "processor" in manifest.identity.hardware
    assert manifest.size_bytes == told.with_suffix(".engine").stat().st_size
    newer = msgspec.structs.replace(manifest.identity, software={"onnxruntime": "9"}, graph="x")
    now = manifest.identity
    assert differences(now, newer) == [
        f"graph: {now.graph}, here x",
        f"software onnxruntime: {now.software['onnxruntime']}, here 9",
    ]


def test_recorded_inputs_are_what_engines_are_compared_on(tmp_path: Path) -> None:
    recorded = [example_arrays(INPUTS, seed) for seed in range(7)]
    prepared = prepared_of(Small(), INPUTS, tmp_path, recorded)
    choice = choose(["onnxruntime"], prepared, 1, build=True)
    assert choice.checked == "7 recorded inputs"
    again = prepared_of(Small(), INPUTS, tmp_path).reference
    assert again.recorded
    for one, other in zip(again.inputs, recorded, strict=True):
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one)
    assert choose(["torch"], folder_of(tmp_path, other="yes"), 1, True).checked == "4 random inputs"


def test_a_damaged_reference_says_what_to_do(tmp_path: Path) -> None:
    assert folder_of(tmp_path).reference.names == ["scale", "sum"]
    file = next(tmp_path.rglob("reference.safetensors"))
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(DualsysError, match=r"can not be read.*delete it, it is made anew"):
        _ = folder_of(tmp_path).reference
