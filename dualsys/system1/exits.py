"""Early exits of the flow: heads behind its first blocks that foretell the whole velocity.

They are trained behind a network that stays as it is (`dualsys train exits`), and kept beside its
weights with a card of their own: without them, the checkpoint is what it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dualsys.errors import DualsysError
from dualsys.finite import require_finite
from dualsys.system1.depth import EXITS

CARD = "exits.json"


class Exit(nn.Module):
    """One head: from what stands behind the first `layers` blocks to the flow's velocity."""

    def __init__(self, layers: int, width: int, hidden: int, action_size: int) -> None:
        super().__init__()
        self.layers = layers
        self.head = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, hidden),
            nn.GELU(approximate="tanh"),
            nn.Linear(hidden, action_size),
        )

    def forward(self, behind: Tensor) -> Tensor:
        """Behind (B, T, D) -> velocity (B, T, A)."""
        velocity: Tensor = self.head(behind)
        return velocity


class ExitCard(msgspec.Struct, frozen=True):
    """What the exits are and how good. weights: digest of the network's that they stand behind."""

    weights: str
    layers: int  # blocks of that network; an exit stands behind each but the last
    width: int
    hidden: int
    action_size: int
    data: dict[str, Any]
    training: dict[str, Any]
    versions: dict[str, str]
    scores: dict[str, Any]


def exits_of(layers: int, width: int, hidden: int, action_size: int) -> nn.ModuleList:
    """Untrained exits behind every block but the last."""
    return nn.ModuleList(Exit(n, width, hidden, action_size) for n in range(1, layers))


def save(folder: Path, exits: nn.ModuleList, card: ExitCard) -> None:
    """Write both files beside the weights; each appears whole or not at all."""
    partial = folder / f"{EXITS}.partial"
    save_file({n: t.detach().contiguous() for n, t in exits.state_dict().items()}, partial)
    partial.replace(folder / EXITS)
    partial = folder / f"{CARD}.partial"
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=1))
    partial.replace(folder / CARD)


def load(folder: Path, weights: str) -> tuple[list[Exit], ExitCard]:
    """The exits beside weights of that digest, the earliest first.

    Raises `DualsysError` where there are none, and for those of other weights.
    """
    remedy = f"train them with `dualsys train exits checkpoint={folder}`"
    if not (folder / EXITS).is_file() or not (folder / CARD).is_file():
        raise DualsysError(f"no early exits at {folder} ({EXITS} and {CARD}); {remedy}")
    try:
        card = msgspec.json.decode((folder / CARD).read_bytes(), type=ExitCard)
    except msgspec.DecodeError as error:
        raise DualsysError(f"{folder / CARD} is no card of early exits: {error}") from error
    if card.weights != weights:
        raise DualsysError(
            f"the early exits at {folder} stand behind the weights {card.weights}, there are "
            f"{weights} now; {remedy}"
        )
    exits, tensors = exits_of(card.layers, card.width, card.hidden, card.action_size), {}
    try:
        tensors = load_file(folder / EXITS)
        exits.load_state_dict(tensors)
    except RuntimeError as error:
        raise DualsysError(f"{folder / EXITS} does not fit its card: {error}; {remedy}") from error
    require_finite(tensors, folder)
    return [part for part in exits.eval().children() if isinstance(part, Exit)], card
