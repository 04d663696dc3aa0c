"""Modules of tests as networks that engines are made of."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from kernels.cache import Prepared
from kernels.choose import Choice, built, choose, opened
from kernels.engine import Engine, TensorSpec
from kernels.export import OPSET
from kernels.network import Arrays, Network
from kernels.registry import RECIPES


def prepared_of(
    module: torch.nn.Module,
    inputs: Mapping[str, TensorSpec],
    folder: Path,
    recorded: Sequence[Arrays] = (),
    opset: int = OPSET,
    **identity: str,
) -> Prepared:
    """A module with its folder of engines; another `identity` is another network."""
    network = Network(
        {"weights": "of a test", **identity}, lambda: (module, inputs), lambda: list(recorded)
    )
    return Prepared(folder, network, opset)


def choice_of(
    names: Sequence[str], module: torch.nn.Module, inputs: Mapping[str, TensorSpec]
) -> Choice:
    """The first usable engine of a module, in a folder that is forgotten."""
    with tempfile.TemporaryDirectory() as folder:
        return choose(names, prepared_of(module, inputs, Path(folder)), 1, build=True)


def built_of(name: str, module: torch.nn.Module, inputs: Mapping[str, TensorSpec]) -> Engine:
    """One engine of a module, built also where that takes long, and not compared with torch."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepared_of(module, inputs, Path(folder))
        if name in RECIPES:
            built(prepared, name, 1)
        return opened(prepared, name, 1, build=False)
