"""Modules of tests as networks that engines are made of."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from kernels.cache import Prepared
from kernels.choose import Choice, choose
from kernels.engine import TensorSpec
from kernels.network import Arrays, Network


def prepared_of(
    module: torch.nn.Module,
    inputs: Mapping[str, TensorSpec],
    folder: Path,
    recorded: Sequence[Arrays] = (),
    **identity: str,
) -> Prepared:
    """A module with its folder of engines; another `identity` is another network."""
    network = Network(
        {"weights": "of a test", **identity}, lambda: (module, inputs), lambda: list(recorded)
    )
    return Prepared(folder, network)


def choice_of(
    names: Sequence[str], module: torch.nn.Module, inputs: Mapping[str, TensorSpec]
) -> Choice:
    """The first usable engine of a module, in a folder that is forgotten."""
    with tempfile.TemporaryDirectory() as folder:
        return choose(names, prepared_of(module, inputs, Path(folder)), 1, build=True)
