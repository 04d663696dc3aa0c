"""An ONNX graph whose products are made in half precision, and nothing else.

Norms, softmax, sums of the flow loop and the border stay float32: a flow policy that was half
precision throughout is known to answer with chunks that point elsewhere (cosine -0.55). The types
stand in the graph, so a builder has none to choose (TensorRT 10 and later: strongly typed).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dualsys.errors import DualsysError

PRODUCTS = {
    "float16": ("MatMul", "Gemm", "Conv"),
    "bfloat16": ("MatMul", "Gemm"),  # convolutions in bfloat16 would need opset 22
}


def halved(graph: bytes, precision: str) -> bytes:
    """The graph with casts around its products. Raises `DualsysError` for another precision."""
    import onnx

    if precision not in PRODUCTS:
        raise DualsysError(f"half precision is {' or '.join(PRODUCTS)}, not {precision}")
    model = onnx.load_from_string(graph)
    writer = _Writer(model, precision)
    for node in list(model.graph.node):
        writer.take(node)
    del model.graph.node[:]
    model.graph.node.extend(writer.nodes)
    model.graph.initializer.extend(writer.weights)
    _drop_unused(model)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


class _Writer:
    """Copies nodes in order and puts casts around the products."""

    def __init__(self, model: Any, precision: str) -> None:
        from onnx import TensorProto

        self._products = PRODUCTS[precision]
        self._type = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}[precision]
        self._known = {weight.name: weight for weight in model.graph.initializer}
        self._half: dict[str, str] = {}
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def take(self, node: Any) -> None:
        """Copy one node; of a product, with half inputs and its output cast back."""
        from onnx import TensorProto, helper

        if node.op_type not in self._products:
            self.nodes.append(node)
            return
        (output,) = node.output
        made = helper.make_node(
            node.op_type, [self._halved(name) for name in node.input], [f"{output}_half"], node.name
        )
        made.attribute.extend(node.attribute)
        cast = helper.make_node("Cast", [f"{output}_half"], [output], to=TensorProto.FLOAT)
        self.nodes += [made, cast]

    def _halved(self, name: str) -> str:
        from onnx import helper

        if not name or name in self._half:  # "": an optional input that is left out
            return self._half.get(name, "")
        self._half[name] = half = f"{name}_as_half"
        if name in self._known:
            self.weights.append(self._weight(name, half))
        else:
            self.nodes.append(helper.make_node("Cast", [name], [half], to=self._type))
        return half

    def _weight(self, name: str, half: str) -> Any:
        from onnx import TensorProto, helper, numpy_helper

        array = numpy_helper.to_array(self._known[name])
        if self._type == TensorProto.FLOAT16:
            return numpy_helper.from_array(array.astype(np.float16), half)
        return helper.make_tensor(half, self._type, array.shape, array.ravel())


def _drop_unused(model: Any) -> None:
    used = {name for node in model.graph.node for name in node.input}
    kept = [weight for weight in model.graph.initializer if weight.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
