"""The learned value of thinking: a small model that predicts what a call would gain.

Extremely randomised trees (Geurts et al. 2006) in plain arrays: inside the tick they pull neither
torch nor scikit-learn; `dualsys train gate` grows them from counterfactual pairs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from safetensors.numpy import load_file, save_file

from dualsys.errors import DualsysError

WEIGHTS, CARD = "gate.safetensors", "gate.json"
SCHEMA = "dualsys-gate/5"


class Judged(msgspec.Struct, frozen=True):
    """Whose situations they are: the world, the inputs in order, and what decides their meaning."""

    domain: str
    control_rate_hz: float
    features: tuple[str, ...]
    checkpoint: str  # of System 1, as the configuration named it
    weights: str | None  # digest of its weights, None where they are gone
    samples: int  # the spread is among so many
    noise_scale: float  # of the first of them


class GateCard(msgspec.Struct):
    """What a gate was trained on, and for which System 1 it holds."""

    schema: str
    judged: Judged
    data: dict[str, Any]
    training: dict[str, Any]
    scores: dict[str, Any]


def gains(arrays: dict[str, np.ndarray], features: np.ndarray) -> np.ndarray:
    """The gain (N,) that the trees foretell in the mean for features (N, F).

    A leaf is its own left and right, so that all trees are walked down for as long as the deepest.
    """
    x = np.asarray(features, np.float32)
    rows = np.arange(len(x))[:, None]
    at = np.broadcast_to(arrays["roots"], (len(x), len(arrays["roots"])))
    for _ in range(int(arrays["depth"][0])):
        left = x[rows, arrays["feature"][at]] <= arrays["threshold"][at]
        at = np.where(left, arrays["left"][at], arrays["right"][at])
    found: np.ndarray = arrays["value"][at].mean(1, dtype=np.float64)
    return found


class Gate:
    """Predicts the gain of a call. Arrays: T trees of N nodes together.

    roots (T,); feature, threshold, left, right, value (N,); depth (1,), of the deepest tree.
    """

    def __init__(self, arrays: dict[str, np.ndarray], card: GateCard) -> None:
        self.arrays, self.card = arrays, card
        asked, named = int(arrays["feature"].max()) + 1, len(card.judged.features)
        if asked > named:
            raise DualsysError(
                f"the gate's trees ask for {asked} features, its card names {named}; train it again"
            )

    def gain(self, features: np.ndarray) -> float:
        """The gain that the trees foretell for features (F,).

        Raises `DualsysError` for another number of features.
        """
        expected = len(self.card.judged.features)
        if features.shape != (expected,):
            raise DualsysError(
                f"the gate takes {expected} features, System 1 gives {features.shape}; train a "
                "gate for this System 1"
            )
        return float(gains(self.arrays, features[None])[0])


def save_gate(folder: Path, gate: Gate) -> None:
    """Write a gate; each file appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{WEIGHTS}.partial"
    save_file(gate.arrays, partial)
    partial.replace(folder / WEIGHTS)
    partial = folder / f"{CARD}.partial"
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(gate.card), indent=1))
    partial.replace(folder / CARD)


def load_gate(folder: Path) -> Gate:
    """Read a gate. Raises `DualsysError` when the folder holds none."""
    try:
        card = msgspec.json.decode((folder / CARD).read_bytes(), type=GateCard)
        arrays = load_file(folder / WEIGHTS)
    except (OSError, msgspec.DecodeError) as error:
        raise DualsysError(
            f"no gate in {folder} ({error}); train one with `dualsys train gate`"
        ) from error
    if card.schema != SCHEMA:
        raise DualsysError(f"{folder} holds a gate of schema {card.schema!r}, expected {SCHEMA!r}")
    return Gate(arrays, card)
