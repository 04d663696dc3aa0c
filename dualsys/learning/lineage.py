"""What a training builds on and does not train itself, told by digests.

They are part of the settings that a state is gone on with under: a path stays what it is when the
weights or episodes that stand there are replaced.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from dualsys.learning.joined import JoinedDataset
from dualsys.learning.trainer import STATE
from dualsys.system1.depth import EXITS

DIGITS = 12
HEADS, VALUE = "heads.", "heads.value."


def digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Digest of tensors with their names, types and shapes, in the order given."""
    total = hashlib.sha256()
    for name, tensor in tensors:
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        total.update(flat.view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:DIGITS]


def tensors_digest(folder: Path, without: str = "") -> str:
    """Digest of a checkpoint's weights (of either system), but for those named `without`..."""
    named = _weights(folder)
    return digest((n, t) for n, t in named if not (without and n.startswith(without)))


def _weights(folder: Path) -> Iterator[tuple[str, Tensor]]:
    for path in sorted(folder.glob("*.safetensors")):
        if path.name not in (STATE, EXITS):  # no other training reads early exits
            with safe_open(path, "pt") as file:
                for name in sorted(file.keys()):
                    yield name, file.get_tensor(name)


def built_on(
    *datasets: JoinedDataset, planner: str = "", trained: str = VALUE, others: Iterable[str] = ()
) -> dict[str, Any]:
    """Settings that tell what stands in datasets, in a planner and in `others`; "" is none.

    `others` are System-1 checkpoints, or files. Of the planner the weights named `trained`... are
    left out: the training's own, and the value head, which no other training reads or changes.
    """
    found = {str(part.root): part.digest() for data in datasets for part in data.parts}
    for name in others:
        if name:
            path = Path(name)
            found[name] = _file_digest(path) if path.is_file() else tensors_digest(path)
    if planner:
        found[planner] = tensors_digest(Path(planner), trained)
    return {f"contents of {name}": told for name, told in found.items()}


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:DIGITS]
