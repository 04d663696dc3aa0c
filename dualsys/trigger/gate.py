"""The learned value of thinking: a small model that predicts what a call would gain.

An ensemble of two-layer networks in plain arrays, so that it costs some microseconds inside the
tick and pulls no torch; `dualsys train gate` makes it from counterfactual pairs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from safetensors.numpy import load_file, save_file

from dualsys.errors import DualsysError

WEIGHTS, CARD = "gate.safetensors", "gate.json"
SCHEMA = "dualsys-gate/4"
FAR = 4.0  # standard deviations; what lies further out, training has not seen


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
    """What a gate was trained on, for which System 1 it holds, and how cautious it is."""

    schema: str
    judged: Judged
    caution: float  # of the members' standard deviations, how many the gain is lower
    data: dict[str, Any]
    training: dict[str, Any]
    scores: dict[str, Any]


def normalised(x: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Features (..., F) in standard deviations from the mean, at most `FAR` of them."""
    return np.clip((x - mean) / std, -FAR, FAR)


def gains(arrays: dict[str, np.ndarray], features: np.ndarray, caution: float) -> np.ndarray:
    """The gain (N,) that the members predict for features (N, F), for sure.

    Their mean, less `caution` of their standard deviations: where they disagree, training has seen
    little, and a call would be a gamble.
    """
    x = normalised(features, arrays["mean"], arrays["std"])
    hidden = np.maximum(np.einsum("nf,mfh->mnh", x, arrays["w1"]) + arrays["b1"][:, None], 0.0)
    predicted: np.ndarray = (hidden * arrays["w2"][:, None]).sum(-1) + arrays["b2"][:, None]
    return predicted.mean(0) - caution * predicted.std(0)


class Gate:
    """Predicts the gain of a call. Arrays: M members, F features, H hidden units.

    mean, std (F,); w1 (M, F, H), b1 (M, H), w2 (M, H), b2 (M,).
    """

    def __init__(self, arrays: dict[str, np.ndarray], card: GateCard) -> None:
        self.arrays, self.card = arrays, card
        expected = len(card.judged.features)
        if arrays["mean"].shape != (expected,) or arrays["w1"].shape[1] != expected:
            raise DualsysError(
                f"the gate's weights are for {arrays['w1'].shape[1]} features, its card names "
                f"{expected}; train it again"
            )

    def gain(self, features: np.ndarray) -> float:
        """The gain that the members predict for features (F,), as the card's caution has it.

        Raises `DualsysError` for another number of features.
        """
        a = self.arrays
        if features.shape != a["mean"].shape:
            raise DualsysError(
                f"the gate takes {len(a['mean'])} features, System 1 gives {features.shape}; train "
                "a gate for this System 1"
            )
        return float(gains(a, features[None], self.card.caution)[0])


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
