"""The loss of System 2's supervised training: answers, candidates and the bottleneck.

Loss = answer weight * cross-entropy of the answers' tokens
     + flow weight   * E |v_theta(x_tau, tau, tokens) - (expert - noise)|^2   (arXiv 2210.02747)
     + code weight   * (plan cross-entropy + E |outline - expert|^2) decoded from the code alone
     + see weight    * E |object - where the readout says it is|, in units of its spread
The heads' gradients reach the language model: what it sees is shaped by what is to be done.
"""

from __future__ import annotations

from typing import Any

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from dualsys.learning.conversation import PlannerBatch
from dualsys.system2.heads import Heads
from dualsys.system2.language import numbers_positions

PLAN_DROPOUT = 0.1


class PlannerModule(nn.Module):
    """Language model and heads as one module, so that one optimiser and one average hold both.

    `objects` > 0 adds a layer that tells the motion of so many objects' values from the readout:
    few words say where things are, and a young vision tower learns little from them alone.
    """

    def __init__(self, language: nn.Module, heads: Heads, objects: int = 0) -> None:
        super().__init__()
        self.language, self.heads = language, heads
        sizes = heads.config
        inner = 2 * sizes.width
        self.see = nn.Sequential(
            nn.Linear(sizes.read_tokens * sizes.width, inner), nn.GELU(), nn.Linear(inner, objects)
        ) if objects else None  # fmt: skip


def set_aside(value: nn.Module) -> dict[str, Tensor]:
    """Freeze the value head, which is learned apart; returns its weights.

    They are to be put back after a training that was resumed: an older head stands in its state.
    """
    value.requires_grad_(False)
    return {name: tensor.clone() for name, tensor in value.state_dict().items()}


def planner_losses(module: PlannerModule, batch: PlannerBatch) -> dict[str, Tensor]:
    """The terms of the loss on one batch, each a scalar."""
    hidden, mask, logits = converse(module.language, batch)
    answers = functional.cross_entropy(logits[batch.answer].float(), batch.said[batch.answer])
    read = ReadBatch(hidden, mask, batch.state, batch.plan, batch.proposal, batch.chunk, batch.mask)
    parts = {"answer": answers, **heads_losses(module.heads, read)}
    if module.see is not None:
        blank = torch.zeros_like(batch.plan), torch.zeros_like(batch.state)
        tokens = module.heads.readout(hidden, mask, blank[1], blank[0])
        found = module.see(tokens[:, : module.heads.config.read_tokens].flatten(1)).float()
        parts["see"] = _masked((found - batch.objects).abs(), batch.objects_mask)
    return parts


class ReadBatch(msgspec.Struct):
    """What the heads learn from, once the model has read the prompt."""

    hidden: Tensor  # (B, L, D) last hidden states of the prompt
    there: Tensor  # bool (B, L)
    state: Tensor  # (B, S) normalised
    plan: Tensor  # (B, P) one-hot, zeros where there was no plan
    proposal: Tensor  # (B, T, A) normalised, zeros where none is shown
    chunk: Tensor  # (B, knots, A) normalised
    mask: Tensor  # (B, knots): 1 inside the episode


def heads_losses(heads: Heads, batch: ReadBatch) -> dict[str, Tensor]:
    """The terms of the candidates and of the bottleneck, each a scalar."""
    keep = (torch.rand(len(batch.plan), 1, device=batch.plan.device) >= PLAN_DROPOUT).float()
    plan = batch.plan * keep
    tokens = heads.readout(batch.hidden, batch.there, batch.state, plan, batch.proposal)
    return {"flow": _flow(heads, tokens, batch), "code": _code(heads, tokens, batch)}


def converse(language: nn.Module, batch: PlannerBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Run the model over prompt and answering turn.

    Returns the prompt's last hidden states (B, L, D), its mask bool (B, L) and the logits
    (B, K, V) that predict the K tokens of the turn.
    """
    return converse_with(language, batch.prompt, batch.said, batch.said_mask)


def converse_with(
    language: nn.Module, inputs: dict[str, Any], said: Tensor, said_mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """As `converse`, for a processor's inputs and a turn's tokens (B, K) with their mask."""
    hidden, mask, logits = run_over(language, inputs, said, said_mask, said.shape[1] + 1)
    return hidden, mask, logits[:, :-1]


def run_over(
    language: nn.Module, inputs: dict[str, Any], said: Tensor, said_mask: Tensor, keep: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the model over a processor's prompts and what is said after them, (B, K).

    Returns the prompts' last hidden states (B, L, D), which what is said later does not change,
    their mask bool (B, L), and the last `keep` logits (B, keep, V).
    """
    inputs = dict(inputs)
    prompt = inputs.pop("input_ids")
    mask = inputs.pop("attention_mask")
    whole = torch.cat([mask, said_mask.to(mask.dtype)], 1)
    if (kinds := inputs.get("mm_token_type_ids")) is not None:  # 0: text, as all that is said
        inputs["mm_token_type_ids"] = torch.cat([kinds, torch.zeros_like(said).to(kinds)], 1)
    running = (whole.cumsum(-1) - 1).clamp(min=0)
    output = language(
        input_ids=torch.cat([prompt, said], 1),
        attention_mask=whole,
        position_ids=None if numbers_positions(language) else running,
        output_hidden_states=True,
        use_cache=False,
        logits_to_keep=keep,
        **inputs,
    )
    return output.hidden_states[-1][:, : prompt.shape[1]], mask.bool(), output.logits


def _flow(heads: Heads, tokens: Tensor, batch: ReadBatch) -> Tensor:
    noise = torch.randn_like(batch.chunk)
    tau = torch.rand(len(noise), device=noise.device)
    mixed = (1 - tau)[:, None, None] * noise + tau[:, None, None] * batch.chunk
    velocity = heads.candidates.velocity(mixed, tau, heads.candidates.cache(tokens)).float()
    return _masked((velocity - (batch.chunk - noise)).square().mean(-1), batch.mask)


def _code(heads: Heads, tokens: Tensor, batch: ReadBatch) -> Tensor:
    plan, outline = heads.decoded(heads.bottleneck(tokens))
    told = functional.cross_entropy(plan.float(), batch.plan.argmax(-1), reduction="none")
    drawn = _masked((outline.float() - batch.chunk).square().mean(-1), batch.mask)
    return _masked(told, batch.plan.any(-1).float()) + drawn


def _masked(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / mask.sum().clamp(min=1.0)
