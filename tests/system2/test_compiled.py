"""System 2's parts as engines: exported, compared with torch, and thinking the same thoughts."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from dualsys.errors import DualsysError, UnknownNameError
from dualsys.messages import Guidance
from dualsys.runtime import planner_engines
from dualsys.runtime.log import LogWriter
from dualsys.system2 import checkpoint as checkpoints
from dualsys.system2.checkpoint import RECORDED, Planning
from dualsys.system2.compiled import CompiledPlanner
from dualsys.system2.parts import parts_of
from dualsys.system2.thinking import ThinkConfig
from dualsys.system2.vision import VisionPlanner
from kernels import parity
from kernels.choose import opened
from sim.driving.spec import SPEC
from tests.system2.test_vision import request

CANDIDATES = 2
PARTS = {"vision", "reading", "readout", "candidates"}


@pytest.fixture(scope="module")
def folder(planner_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A planner with two requests recorded beside it."""
    import shutil

    copied = tmp_path_factory.mktemp("compiled") / "planner"
    shutil.copytree(planner_folder, copied)
    with LogWriter(copied / RECORDED, {}) as log:
        for number in (1, 2):
            log.write("requests", request(number))
    return copied


@pytest.fixture(scope="module")
def planning(folder: Path) -> Planning:
    return checkpoints.load(folder, SPEC)


def words(folder: Path, *engines: str) -> dict[str, Any]:
    return {
        "checkpoint": str(folder),
        "engine": list(engines),
        "threads": 1,
        "candidates": CANDIDATES,
    }


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def compiled(
    folder: Path,
    planning: Planning,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Planning, dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DUALSYS_CACHE", str(tmp_path_factory.mktemp(request.param)))
        return planner_engines.with_engines(words(folder, request.param, "torch"), planning, SPEC)


def thought(planning: Planning, number: int, samples: int = 2) -> list[Guidance]:
    planner = VisionPlanner(SPEC, planning, ThinkConfig(candidates=CANDIDATES))
    return list(planner.think(request(number, samples), "short"))


def test_a_thought_by_engines_is_the_one_of_torch(
    compiled: tuple[Planning, dict[str, Any]], planning: Planning
) -> None:
    found, told = compiled
    assert told["used"] in {"onnxruntime", "openvino"}
    assert told["checked_on"] == "2 recorded inputs"
    for number in (3, 4):
        mine, theirs = (thought(which, number) for which in (found, planning))
        assert [g.text for g in mine] == [g.text for g in theirs]
        assert [g.plan for g in mine] == [g.plan for g in theirs]
        for one, other in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(one.z, other.z)
            np.testing.assert_allclose(one.candidate, other.candidate, atol=1e-4)
            assert one.value == pytest.approx(other.value, abs=1e-4, nan_ok=True)
    assert found.compiled is not None
    assert not found.compiled.declined


def test_the_prompt_is_read_alike_and_gone_on_from(
    compiled: tuple[Planning, dict[str, Any]], planning: Planning
) -> None:
    images, text = [request(5).observation.images["topdown"]], "a prompt. speed 3.00"
    mine, theirs = (which.read(images, text) for which in (compiled[0], planning))
    assert mine.length == theirs.length
    cosine = torch.cosine_similarity(mine.hidden.flatten(), theirs.hidden.flatten(), 0)
    assert cosine > 0.99999
    torch.testing.assert_close(mine.logits, theirs.logits, atol=1e-3, rtol=1e-3)
    tokens = planning.language.tokenize("plan: follow")
    for prefix in (mine, theirs):
        planning.language.say(prefix, tokens)
    after = (planning.language.listen(prefix) for prefix in (mine, theirs))
    torch.testing.assert_close(*after, atol=1e-3, rtol=1e-3)


def test_a_prompt_too_long_for_the_engine_is_read_by_torch_and_counted(
    compiled: tuple[Planning, dict[str, Any]], planning: Planning
) -> None:
    assert compiled[0].compiled is not None
    engines = copy.copy(compiled[0].compiled._engines)
    short = CompiledPlanner(planning, engines)
    short._length = 8
    watched = msgspec.structs.replace(planning, compiled=short)
    planner = VisionPlanner(SPEC, watched, ThinkConfig(candidates=CANDIDATES))
    said = [g.text for g in planner.think(request(3), "short")]
    assert said == [g.text for g in thought(planning, 3)]
    assert planner.faults == {"prompt_longer_than_engine": 1}


def test_every_part_agrees_with_torch_on_what_was_recorded(
    folder: Path, planning: Planning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUALSYS_CACHE", str(tmp_path))
    prepared = planner_engines.prepared_system2(words(folder, "onnxruntime"), planning, SPEC)
    assert set(prepared) == PARTS
    for part in prepared.values():
        assert part.reference.recorded
        found = parity.compare(opened(part, "onnxruntime", 1, build=True), part.reference)
        assert found.fault("float32") is None


def test_where_nothing_was_recorded_engines_are_compared_on_noise(
    planner_folder: Path, planning: Planning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUALSYS_CACHE", str(tmp_path))
    config = {**words(planner_folder), "candidates": 0}
    prepared = planner_engines.prepared_system2(config, planning, SPEC)
    assert set(prepared) == PARTS - {"candidates"}
    assert prepared["readout"].reference.source == "4 random inputs"


def test_a_model_of_another_family_is_refused_with_the_remedy(planning: Planning) -> None:
    language = copy.copy(planning.language)
    language.model = nn.Linear(2, 2)
    foreign = msgspec.structs.replace(planning, language=language)
    with pytest.raises(DualsysError, match=r"Linear has no vision_model.*system2.engine=\[torch\]"):
        parts_of(foreign, 0)


def test_torch_is_what_remains_and_it_is_said_why(folder: Path, planning: Planning) -> None:
    found, told = planner_engines.with_engines(words(folder, "tensorrt", "torch"), planning, SPEC)
    assert found is planning
    assert told["used"] == "torch"
    assert "tensorrt" in told["refused"]
    with pytest.raises(DualsysError, match=r"no engine of \['tensorrt'\].*add torch"):
        planner_engines.with_engines(words(folder, "tensorrt"), planning, SPEC)
    with pytest.raises(UnknownNameError, match="rocket"):
        planner_engines.with_engines(words(folder, "rocket"), planning, SPEC)
