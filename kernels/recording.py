"""An engine that keeps what it is asked, to measure on what a network meets at work."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kernels.engine import Engine
from kernels.network import Arrays


class RecordingEngine:
    """Keeps copies of its inputs in `asked`; answers as the engine inside."""

    def __init__(self, inner: Engine) -> None:
        self._inner, self.asked = inner, list[Arrays]()
        self.name, self.precision = inner.name, inner.precision
        self.inputs, self.outputs = inner.inputs, inner.outputs

    def run(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        """Run the engine inside."""
        self.asked.append({name: array.copy() for name, array in arrays.items()})
        return self._inner.run(arrays)
