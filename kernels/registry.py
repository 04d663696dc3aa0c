"""The engines by name."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from dualsys.errors import DualsysError
from kernels.engine import Engine, TensorSpec
from kernels.graph_engine import CudaGraphEngine
from kernels.onnx_engine import CPU, CUDA, OnnxRecipe, OnnxTensorrtRecipe
from kernels.openvino_engine import OpenVinoRecipe
from kernels.recipe import Recipe
from kernels.tensorrt_build import TensorrtRecipe
from kernels.torch_engine import TorchEngine

if TYPE_CHECKING:
    from torch import nn

Direct = Callable[["nn.Module", Mapping[str, TensorSpec]], Engine]


def _eager(module: nn.Module, inputs: Mapping[str, TensorSpec]) -> Engine:
    import torch

    if not torch.cuda.is_available():
        raise DualsysError(
            f"engine torch-cuda needs a GPU that torch sees, there is none (torch "
            f"{torch.__version__}); install a CUDA build and its driver, or choose another"
        )
    return TorchEngine(copy.deepcopy(module), inputs, "cuda", "torch-cuda")


def _graph(module: nn.Module, inputs: Mapping[str, TensorSpec]) -> Engine:
    return CudaGraphEngine(module, inputs, "torch-cuda-graph")


def _fused(module: nn.Module, inputs: Mapping[str, TensorSpec]) -> Engine:
    fused = getattr(module, "fused", None)
    if fused is None:
        raise DualsysError(f"{type(module).__name__} has no form with fused kernels")
    return CudaGraphEngine(fused(), inputs, "torch-fused")


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        OnnxRecipe("onnxruntime", CPU),
        OnnxRecipe("onnxruntime-cuda", CUDA),
        OnnxTensorrtRecipe(),
        TensorrtRecipe("tensorrt", "float32"),
        TensorrtRecipe("tensorrt-tf32", "tf32"),
        TensorrtRecipe("tensorrt-fp16", "float16"),
        TensorrtRecipe("tensorrt-bf16", "bfloat16"),
        OpenVinoRecipe("openvino", "float32"),
        OpenVinoRecipe("openvino-bf16", "bfloat16"),
    )
}
"""Engines that are built from the ONNX graph and kept as files."""

DIRECT: dict[str, Direct] = {
    "torch-cuda": _eager,
    "torch-cuda-graph": _graph,
    "torch-fused": _fused,
    "torch": TorchEngine,
}
"""Engines that run the torch module itself: nothing to build, nothing to keep."""

ENGINES = (*RECIPES, *DIRECT)
