"""Hand-written Triton kernels, each beside its torch reference, which is used without Triton."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from dualsys.environment import kernels_are_interpreted

if TYPE_CHECKING:
    from torch import Tensor


def runs(tensor: Tensor) -> bool:
    """Whether a kernel can take `tensor`: Triton is there, and so is a GPU or its interpreter."""
    somewhere = tensor.is_cuda or kernels_are_interpreted()
    return somewhere and importlib.util.find_spec("triton") is not None
