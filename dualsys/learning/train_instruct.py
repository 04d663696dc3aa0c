"""The loss of reward-instruct training: the plan's probability follows what came of it.

Every plan of a state was tried out, so the group-relative policy gradient (GRPO, arXiv 2402.03300;
used for planning answers in FASIONAD++, arXiv 2503.08162) is taken in expectation:
    loss = - sum_p pi(p) A_p + beta KL(pi || pi_before),   A_p = (s_p - mean s) / (std s + eps)
The supervised terms go on beside it, so that answers, candidates and code stay what they were.
"""

from __future__ import annotations

from typing import Any

import msgspec
from torch import Tensor, nn

from dualsys.learning.conversation import PlannerBatch
from dualsys.learning.train_system2 import PlannerModule, converse_with, planner_losses

EPSILON = 0.02  # scores that differ by less are taken for equal


class TriedPlans(msgspec.Struct):
    """States in which every plan was tried; B states, P plans, K tokens of question and plan."""

    prompt: dict[str, Tensor]  # the processor's inputs, one row per state
    said: Tensor  # int64 (P, K): the question and each plan's answer, padded on the right
    said_mask: Tensor  # bool (P, K)
    answer: Tensor  # bool (P, K): the token belongs to the plan
    scores: Tensor  # (B, P)
    before: Tensor  # (B, P) log-probabilities of the plans before the training


class InstructBatch(msgspec.Struct):
    """Tried plans beside a batch of the supervised training."""

    tried: TriedPlans
    taught: PlannerBatch


def log_probabilities(language: nn.Module, tried: TriedPlans) -> Tensor:
    """Log-probabilities (B, P) of the plans, normalised over the plans as under the grammar."""
    plans, states = len(tried.said), len(tried.scores)
    repeated = {name: _each(tensor, plans, states) for name, tensor in tried.prompt.items()}
    said, mask = (tensor.repeat(states, 1) for tensor in (tried.said, tried.said_mask))
    _, _, logits = converse_with(language, repeated, said, mask)
    chosen = logits.float().log_softmax(-1).gather(-1, said[..., None])[..., 0]
    total = (chosen * tried.answer.repeat(states, 1)).sum(-1)
    return total.view(states, plans).log_softmax(-1)


def _each(tensor: Tensor, plans: int, states: int) -> Tensor:
    """Every state's rows `plans` times, one after the other."""
    rows = tensor.view(states, -1, *tensor.shape[1:])
    return rows.repeat_interleave(plans, 0).flatten(0, 1)


def advantages(scores: Tensor) -> Tensor:
    """Scores (B, P) against their own group: zero mean, unit spread where plans differ at all."""
    centred = scores - scores.mean(1, keepdim=True)
    return centred / (scores.std(1, correction=0, keepdim=True) + EPSILON)


def instruct_losses(module: PlannerModule, batch: InstructBatch) -> dict[str, Tensor]:
    """The supervised terms, the reward's and the distance from what was said before."""
    now = log_probabilities(module.language, batch.tried)
    share = now.exp()
    reward = -(share * advantages(batch.tried.scores)).sum(1).mean()
    distance = (share * (now - batch.tried.before)).sum(1).mean()
    parts: dict[str, Any] = planner_losses(module, batch.taught)
    return {**parts, "reward": reward, "distance": distance}
