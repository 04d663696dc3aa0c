"""How unsure System 1 is: the entropy of its Laplace head and the spread of its flow samples.

The gate of FASIONAD++ (arXiv 2503.08162) is Laplace-based and not published; this is our own:
U = mean log(2 e b) + w * spread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
import numpy as np


class Uncertainty(msgspec.Struct, frozen=True):
    """Both measures of one pass, and their sum; nan before the first pass.

    entropy: mean differential entropy of the Laplace distributions [nat], of commands in their
    units; spread: mean standard deviation among the flow's samples, in units of the data's.
    """

    entropy: float = math.nan
    spread: float = math.nan
    total: float = math.nan

    @classmethod
    def of(cls, outputs: Mapping[str, np.ndarray], spread_weight: float) -> Uncertainty:
        """The uncertainty of a pass; an engine without several samples has no spread (0).

        A foreign network may say a number of its own, or nothing.
        """
        if "uncertainty" in outputs:
            return cls(total=float(outputs["uncertainty"].item()))
        if "scale" not in outputs:
            return cls()
        entropy = laplace_entropy(outputs["scale"][0])
        spread = float(outputs["spread"].item()) if "spread" in outputs else 0.0
        return cls(entropy, spread, entropy + spread_weight * spread)


def laplace_entropy(scale: np.ndarray) -> float:
    """Mean differential entropy [nat] of Laplace distributions of scale b: log(2 e b)."""
    return float(np.mean(np.log(2 * math.e * scale)))
