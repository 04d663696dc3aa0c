"""Weights that are numbers: a damaged file would else act, or think, without a word."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from dualsys.errors import DualsysError


def require_finite(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Refuse NaN and infinity among the weights of `folder`, by name.

    Raises `DualsysError`.
    """
    bad = sorted(
        name
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not tensor.isfinite().all()
    )
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise DualsysError(
            f"the weights in {folder} hold NaN or infinity ({', '.join(bad[:3])}{more}); the file "
            "is damaged or its training diverged: copy it again or train it again"
        )
