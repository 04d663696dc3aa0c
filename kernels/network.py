"""What engines are made of: a torch module with named inputs, and observations to compare on.

Or an ONNX file of somebody else, which has no module.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from kernels.engine import TensorSpec

if TYPE_CHECKING:
    from torch import nn

Arrays = dict[str, np.ndarray]
Made = tuple["nn.Module", Mapping[str, TensorSpec]]


@dataclass(frozen=True)
class Network:
    """A module `module(**inputs) -> dict of tensors`, made only where somebody needs it.

    identity: all that its graph is a function of (weights, options, code), as short words.
    recorded: inputs that the module has met at work; none where nobody recorded any. file: the
    graph, where the network came as one; then `make` says that there is no module.
    """

    identity: Mapping[str, str]
    make: Callable[[], Made]
    recorded: Callable[[], list[Arrays]]
    file: Callable[[], bytes] | None = None

    @property
    def key(self) -> str:
        """A name for the identity."""
        told = msgspec.json.encode(dict(self.identity), order="sorted")
        return hashlib.sha256(told).hexdigest()[:16]
