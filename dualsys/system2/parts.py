"""System 2's parts as modules with named inputs of fixed shapes: what engines compile.

The language model's are of the Idefics3 family (SmolVLM's); answers are decoded in torch, over the
keys and values that the prefix gives. No padding reaches a result: tokens after a prompt's end
change nothing before it, and the readout is told which tokens there are.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from dualsys.errors import DualsysError
from dualsys.system2.checkpoint import Planning
from dualsys.system2.heads import Heads

FAMILY = ("vision_model", "connector", "text_model")


class Vision(nn.Module):
    """The vision tower and what makes tokens of it, for so many whole pictures at a time."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower, self.connector = model.model.vision_model, model.model.connector
        self.register_buffer("place", _places(self.tower.embeddings), persistent=False)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Pixels (P, 3, H, W), normalised -> features (P, tokens, text width)."""
        patches = self.tower.embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
        seen = self.tower.encoder(
            inputs_embeds=patches + self.get_buffer("place"), attention_mask=None
        )
        features = self.connector(self.tower.post_layernorm(seen.last_hidden_state))
        return {"features": features}


def _places(embeddings: nn.Module) -> Tensor:
    """What the tower adds to the patches of a whole picture.

    It finds each patch's place by a search that no export knows; the places of a whole picture
    are always the same.
    """
    size, side = (getattr(embeddings, name) for name in ("image_size", "num_patches_per_side"))
    nothing = torch.zeros(1, 3, size, size)
    whole = torch.ones(1, side, side, dtype=torch.bool)
    with torch.inference_mode():
        placed = embeddings(nothing, whole)
        patches = embeddings.patch_embedding(nothing)  # type: ignore[operator]
        found: Tensor = (placed - patches.flatten(2).transpose(1, 2)).clone()
    return found


class Reading(nn.Module):
    """The language model over a whole prompt, padded at its end."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.text = model.model.text_model

    def forward(self, embedded: Tensor) -> dict[str, Tensor]:
        """Embedded tokens (1, L, W) -> hidden (1, L, W), keys and values (layers, heads, L, D)."""
        found = self.text(inputs_embeds=embedded, use_cache=True)
        layers = found.past_key_values.layers
        return {
            "hidden": found.last_hidden_state,
            "keys": torch.cat([layer.keys for layer in layers]),
            "values": torch.cat([layer.values for layer in layers]),
        }


class Readout(nn.Module):
    """What the heads take from a prompt."""

    def __init__(self, heads: Heads) -> None:
        super().__init__()
        self.readout = heads.readout

    def forward(self, **given: Tensor) -> dict[str, Tensor]:
        """As `heads.Readout`, with present (1, L), 1 where there is a token -> tokens."""
        proposal = given.get("proposal")
        state, plan = given["state"], given["plan"]
        return {
            "tokens": self.readout(given["hidden"], given["present"] > 0, state, plan, proposal)
        }


class Candidates(nn.Module):
    """The flow of N candidates and what both critics say of each."""

    def __init__(self, heads: Heads, count: int) -> None:
        super().__init__()
        self.heads, self.count = heads, count

    def forward(self, tokens: Tensor, noise: Tensor) -> dict[str, Tensor]:
        """Tokens and noise (1, knots, A) -> chunks (1, N, knots, A), values (1, N, 2)."""
        chunks = self.heads.candidates.ladder(noise, tokens, self.count)
        return {"chunks": chunks, "values": self.heads.value(tokens, chunks)}


def exported(model: Any) -> tuple[Vision, Reading]:
    """The parts of a language model that engines are made of, in float32 and on the processor.

    Raises `DualsysError` for a model of another family.
    """
    if missing := [name for name in FAMILY if not hasattr(getattr(model, "model", None), name)]:
        raise DualsysError(
            f"{type(model).__name__} has no {', '.join(missing)}: only the vision tower and the "
            "prefix of the Idefics3 family are exported; set system2.engine=[torch]"
        )
    # Attention is written out as products: what fuses it is no operator of a graph.
    plain = copy.deepcopy(model).to("cpu", torch.float32)
    plain.set_attn_implementation("eager")
    return Vision(plain).eval(), Reading(plain).eval()


def parts_of(planning: Planning, candidates: int) -> dict[str, nn.Module]:
    """The parts by name, sharing the weights; without candidates their part is left out.

    Raises `DualsysError` for a language model of another family.
    """
    vision, reading = exported(planning.language.model)
    found: dict[str, nn.Module] = {
        "vision": vision,
        "reading": reading,
        "readout": Readout(planning.heads),
    }
    if candidates:
        found["candidates"] = Candidates(planning.heads, candidates)
    return {name: part.eval() for name, part in found.items()}
