"""How large the models of conf/model are: counted on torch's meta device, without memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dualsys.config import load
from dualsys.system2.build import _config, _tokenizer
from dualsys.system2.checkpoint import load as load_planner
from dualsys.system2.checkpoint import save_planner
from dualsys.system2.sizes import ModelSizes
from tests.planners import sentences


def parameters(name: str) -> int:
    from transformers import Idefics3ForConditionalGeneration

    sizes = ModelSizes(**load("train system2", ["data=DIR", "out=DIR", f"model={name}"])["model"])
    with torch.device("meta"):
        model = Idefics3ForConditionalGeneration(_config(sizes, _tokenizer(sizes, sentences())))
    assert all(parameter.is_meta for parameter in model.parameters())
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "least", "most"), [("small", 6_000_000, 10_000_000), ("large", 50_000_000, 60_000_000)]
)
def test_a_named_size_is_what_its_file_says(name: str, least: int, most: int) -> None:
    found = parameters(name)
    assert least <= found <= most, f"{name} has {found:,} parameters"


def test_a_saved_model_takes_two_bytes_a_parameter(planner_folder: Path, tmp_path: Path) -> None:
    planning = load_planner(planner_folder)
    count = sum(parameter.numel() for parameter in planning.language.model.parameters())
    save_planner(tmp_path, planning.language, planning.heads, planning.normalisation, planning.card)
    size = (tmp_path / "model.safetensors").stat().st_size
    assert 2 * count <= size <= 2 * count + 20_000, "weights that are tied are written once"
