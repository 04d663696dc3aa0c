"""Graphs whose products are in half precision: those alone, and near what float32 says."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto

from dualsys.errors import DualsysError
from kernels.engine import TensorSpec
from kernels.export import export_onnx
from kernels.half import PRODUCTS, halved
from kernels.reference import example_arrays

INPUTS = {"image": TensorSpec((1, 8, 8, 3), "uint8"), "state": TensorSpec((1, 5), "float32")}


class Mixed(torch.nn.Module):
    """Convolution, attention and a norm."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.see = torch.nn.Conv2d(3, 4, 3)
        self.know = torch.nn.Linear(5, 4)
        self.norm = torch.nn.LayerNorm(4)

    def forward(self, image: torch.Tensor, state: torch.Tensor) -> dict[str, torch.Tensor]:
        seen = self.see(image.permute(0, 3, 1, 2).float() / 255).flatten(2).transpose(1, 2)
        weight = (seen @ self.know(state)[..., None]).softmax(1)
        return {"out": self.norm((weight * seen).sum(1))}


def graph() -> bytes:
    return export_onnx(Mixed(), INPUTS, ["out"])


def kinds(model: bytes) -> dict[str, set[str]]:
    """What each operator's outputs are made of."""
    found = onnx.shape_inference.infer_shapes(onnx.load_from_string(model), strict_mode=True)
    known = {v.name: v.type.tensor_type.elem_type for v in found.graph.value_info}
    known |= {v.name: v.type.tensor_type.elem_type for v in found.graph.output}
    told: dict[str, set[str]] = {}
    for node in found.graph.node:
        names = {TensorProto.DataType.Name(known[n]) for n in node.output if n in known}
        told.setdefault(node.op_type, set()).update(names)
    return told


@pytest.mark.parametrize(("precision", "name"), [("float16", "FLOAT16"), ("bfloat16", "BFLOAT16")])
def test_products_alone_are_made_in_half_precision(precision: str, name: str) -> None:
    before, after = kinds(graph()), kinds(halved(graph(), precision))
    for operator, made in after.items():
        if operator in PRODUCTS[precision]:
            assert made == {name}, operator
        elif operator != "Cast":
            assert made == before[operator], operator
    assert after["Softmax"] == {"FLOAT"}


def test_names_shapes_and_types_of_the_border_stay() -> None:
    one, other = (onnx.load_from_string(m).graph for m in (graph(), halved(graph(), "float16")))
    assert list(one.input) == list(other.input)
    assert list(one.output) == list(other.output)


def test_half_is_half_as_large_and_answers_nearly_the_same() -> None:
    half = halved(graph(), "float16")
    arrays = example_arrays(INPUTS, 2)
    answers = [
        onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, arrays)[0]
        for model in (graph(), half)
    ]
    np.testing.assert_allclose(answers[1], answers[0], atol=5e-3)
    assert not np.array_equal(answers[1], answers[0])
    sizes = [sum(len(w.raw_data) for w in onnx.load_from_string(m).graph.initializer)
             for m in (graph(), half)]  # fmt: skip
    assert sizes[1] < 0.75 * sizes[0]


def test_another_precision_is_refused() -> None:
    with pytest.raises(DualsysError, match="float16 or bfloat16, not int3"):
        halved(b"", "int3")
