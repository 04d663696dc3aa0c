"""System-2 checkpoints: a language model with the planner's heads and card beside it.

The folder opens with transformers alone; `heads.safetensors` and `planner.json` are this
project's. No pickle.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dualsys.errors import DualsysError
from dualsys.finite import require_finite
from dualsys.spec import WorldSpec, require_same
from dualsys.system2.heads import Heads
from dualsys.system2.language import LanguageModel, Prefix
from dualsys.system2.sizes import HeadsConfig

if TYPE_CHECKING:
    from dualsys.system2.compiled import CompiledPlanner

HEADS, CARD = "heads.safetensors", "planner.json"
RECORDED = "recorded.mcap"  # beside the weights: requests that the planner met at work
NORMALISATION = ("state_mean", "state_std", "action_mean", "action_std")


class Card(msgspec.Struct, frozen=True):
    """The model card: everything a user needs to judge and to rebuild the checkpoint."""

    heads: HeadsConfig
    spec: WorldSpec
    prompts: bool  # whether training drew System 1's samples into the images
    data: dict[str, Any]
    training: dict[str, Any]
    versions: dict[str, str]
    scores: dict[str, Any]
    licence: str = "Apache-2.0"
    prompt_samples: int = 1  # how many of them
    model: dict[str, Any] = {}  # class, sizes and parameters; {} in older cards


class Planning(msgspec.Struct):
    """A loaded checkpoint: model, heads, normalisation and card; all tensors on `device`.

    compiled: engines that do the same; without them torch reads and proposes.
    """

    language: LanguageModel
    heads: Heads
    normalisation: dict[str, Tensor]
    card: Card
    compiled: CompiledPlanner | None = None

    @property
    def device(self) -> torch.device:
        """Where model and heads are."""
        device: torch.device = self.language.model.device
        return device

    def read(self, images: Sequence[np.ndarray], text: str) -> Prefix:
        """Read a prompt once; see `LanguageModel.read`."""
        reader = self.language if self.compiled is None else self.compiled
        return reader.read(images, text)

    def tokens(
        self, hidden: Tensor, state: Tensor, plan: Tensor, proposal: Tensor | None
    ) -> Tensor:
        """What the heads read of a prompt that has no padding; see `Readout`."""
        if self.compiled is not None and self.compiled.fits(hidden):
            return self.compiled.tokens(hidden, state, plan, proposal)
        mask = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
        found: Tensor = self.heads.readout(hidden, mask, state, plan, proposal)
        return found

    def propose(self, tokens: Tensor, noise: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """So many candidates (1, N, knots, A), normalised, and both critics' values (1, N, 2)."""
        if self.compiled is not None:
            return self.compiled.propose(tokens, noise)
        chunks = self.heads.candidates.ladder(noise, tokens, count)
        return chunks, self.heads.value(tokens, chunks)

    def scale(self) -> dict[str, np.ndarray]:
        """The normalisation as arrays, for what is prepared on the processor."""
        return {name: value.cpu().numpy() for name, value in self.normalisation.items()}


def save_heads(folder: Path, heads: Heads, normalisation: dict[str, Tensor], card: Card) -> None:
    """Write heads and card beside the language model; each file appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"heads.{k}": v.detach().cpu().contiguous() for k, v in heads.state_dict().items()}
    tensors |= {name: normalisation[name].cpu().contiguous() for name in NORMALISATION}
    partial = folder / f"{HEADS}.partial"
    save_file(tensors, partial)
    partial.replace(folder / HEADS)
    partial = folder / f"{CARD}.partial"
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=1))
    partial.replace(folder / CARD)


def save_planner(
    folder: Path,
    language: LanguageModel,
    heads: Heads,
    normalisation: dict[str, Tensor],
    card: Card,
) -> None:
    """Write the whole planner: language model and processor as transformers does, heads and card.

    The model is stored in half the bytes (bfloat16) and read back as float32.
    """
    language.model.to(torch.bfloat16).save_pretrained(folder)
    language.model.to(torch.float32)
    language.processor.save_pretrained(folder)
    save_heads(folder, heads, normalisation, card)


def load_card(folder: Path) -> Card:
    """The card of a planner. Raises `DualsysError` for what is none."""
    try:
        return msgspec.json.decode((folder / CARD).read_bytes(), type=Card)
    except msgspec.DecodeError as error:
        raise DualsysError(f"{folder / CARD} is not a System-2 model card: {error}") from error


def load(folder: Path, spec: WorldSpec | None = None, device: str = "cpu") -> Planning:
    """Load a planner; refuse one without whole heads, and one of another world than `spec`."""
    language = LanguageModel.load(folder, device)
    if not (folder / HEADS).is_file() or not (folder / CARD).is_file():
        raise DualsysError(
            f"{folder} is a language model without the planner's heads ({HEADS} and {CARD} are "
            "missing); train them with `dualsys train system2`, or ask it for the plan alone: "
            "system2=language"
        )
    card = load_card(folder)
    if spec is not None:
        require_same(spec, card.spec, "the world", f"the planner {folder}")
    if card.heads.text_width != language.text_width:
        raise DualsysError(
            f"the heads in {folder} read {card.heads.text_width} features, the language model "
            f"beside them has {language.text_width}; train the heads for this model"
        )
    try:
        tensors = load_file(folder / HEADS)
    except SafetensorError as error:
        raise DualsysError(
            f"{folder / HEADS} is no whole weights file ({error}); copy it again or train the heads"
        ) from error
    heads = Heads(card.heads)
    weights = {k.removeprefix("heads."): v for k, v in tensors.items() if k.startswith("heads.")}
    try:
        heads.load_state_dict(weights)
        normalisation = {name: tensors[name].to(device) for name in NORMALISATION}
    except (RuntimeError, KeyError) as error:
        raise DualsysError(f"the heads in {folder} are not those of its card: {error}") from error
    require_finite(tensors, folder)
    return Planning(language, heads.to(torch.device(device)).eval(), normalisation, card)
