"""Policies in ONNX files, as somebody else might have exported them, for the fake world."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dualsys.system1.description import FILE, SCHEMA
from tests.fakes import SPEC

ABOUT: dict[str, Any] = {
    "schema": SCHEMA,
    "model": "net.onnx",
    "control_rate_hz": SPEC.control_rate_hz,
    "inputs": {
        "pixels": {
            "from": "image",
            "camera": "eye",
            "layout": "BCHW",
            "shape": [1, 3, 16, 16],
            "scale": 1 / 255,
        },
        "where": {
            "from": "state",
            "axes": {"y": "m", "x": "m"},
            "shape": [1, 2],
            "mean": [1.0, 0.0],
            "std": [2.0, 1.0],
        },
        "plan": {"from": "plan", "plans": ["go", "stay"], "shape": [1, 2]},
    },
    "outputs": {
        "chunk": {
            "to": "commands",
            "axes": {"vy": "m/s", "vx": "m/s"},
            "shape": [1, 4, 2],
            "std": [0.5, 1.0],
        },
        "doubt": {"to": "uncertainty", "shape": [1, 1]},
    },
}
"""The network below, described; axes in another order than the world's."""


def changed(**parts: Any) -> dict[str, Any]:
    """The description with some of it otherwise: input__where__shape=[1, 3]."""
    about = json.loads(json.dumps(ABOUT))
    for place, value in parts.items():
        *above, last = place.split("__")
        node = about
        for key in above:
            node = node[key]
        if value is None:
            del node[last]
        else:
            node[last] = value
    return about


def model(batch: int | str = "batch", scale: float = 1.0, noise: bool = False) -> onnx.ModelProto:
    """chunk = plan[0] - where * scale + mean of the pixels, four times; doubt = the squares' sum.

    With `noise` it draws a number of its own for every answer.
    """
    inputs = [
        helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [batch, 3, 16, 16]),
        helper.make_tensor_value_info("where", TensorProto.FLOAT, [batch, 2]),
        helper.make_tensor_value_info("plan", TensorProto.FLOAT, [batch, 2]),
    ]
    outputs = [
        helper.make_tensor_value_info("chunk", TensorProto.FLOAT, [batch, 4, 2]),
        helper.make_tensor_value_info("doubt", TensorProto.FLOAT, [batch, 1]),
    ]
    nodes = [
        helper.make_node("Mul", ["where", "minus"], ["back"]),
        helper.make_node("ReduceMean", ["pixels"], ["grey4"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["grey4", "one"], ["grey"]),
        helper.make_node("MatMul", ["plan", "first"], ["told"]),
        helper.make_node("Add", ["back", "grey"], ["seen"]),
        helper.make_node("Add", ["seen", "told"], ["still" if noise else "row"]),
        helper.make_node("Unsqueeze", ["row", "one"], ["rows"]),
        helper.make_node("Concat", ["rows"] * 4, ["chunk"], axis=1),
        helper.make_node("ReduceSumSquare", ["where"], ["doubt"], axes=[1], keepdims=1),
    ]
    if noise:
        drawn = helper.make_node("RandomNormalLike", ["still"], ["drawn"])
        nodes[6:6] = [drawn, helper.make_node("Add", ["still", "drawn"], ["row"])]
    constants = {
        "minus": np.full(2, -scale, np.float32),
        "one": np.array([1]),
        "first": np.array([[1.0, 1.0], [0.0, 0.0]], np.float32),
    }
    weights = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "policy", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write(folder: Path, about: dict[str, Any] = ABOUT, made: onnx.ModelProto | None = None) -> Path:
    """A folder with the model and its description."""
    folder.mkdir(exist_ok=True)
    onnx.save(made or model(), folder / "net.onnx")
    (folder / FILE).write_text(json.dumps(about))
    return folder
