"""The loss of reward-instruct training: the plan's probability follows what came of it.

Every plan of a state was tried out, so the group-relative policy gradient (GRPO, arXiv 2402.03300;
used for planning answers in FASIONAD++, arXiv 2503.08162) is taken in expectation:
    loss = - sum_p pi(p) A_p + beta KL(pi || pi_before),   A_p = (s_p - mean s) / (std s + eps)
The supervised terms go on beside it, so that answers, candidates and code stay what they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from dualsys.learning.conversation import PlannerBatch
from dualsys.learning.train_system2 import PlannerModule, planner_losses, run_over

EPSILON = 0.02  # scores that differ by less are taken for equal


class Fork(msgspec.Struct, frozen=True):
    """A place in the answer at which plans part.

    said: index of the turn that leads there; at: how many of its tokens are said before, the
    question's included; tokens: what may come next; taken: for each plan its index among them, -1
    where it is not on the way.
    """

    said: int
    at: int
    tokens: tuple[int, ...]
    taken: tuple[int, ...]


def forks(
    question: Sequence[int], answers: Sequence[Sequence[int]]
) -> list[tuple[list[int], Fork]]:
    """The places where answers, token lists that end alike, part, with what is said up to each.

    Turns that lead on to a later fork are left out: S turns in all, `Fork.said` counts them.
    """
    ways = {tuple(a[:n]) for a in answers for n in range(len(a))}
    follow = {w: sorted({a[len(w)] for a in map(tuple, answers) if a[: len(w)] == w}) for w in ways}
    parting = sorted((way for way, tokens in follow.items() if len(tokens) > 1), key=len)
    turns = [w for w in parting if not any(o[: len(w)] == w and o != w for o in parting)]
    found = []
    for way in parting:
        said = next(n for n, turn in enumerate(turns) if turn[: len(way)] == way)
        on = [tuple(a[: len(way)]) == way for a in answers]
        taken = [
            follow[way].index(a[len(way)]) if o else -1 for a, o in zip(answers, on, strict=True)
        ]
        fork = Fork(said, len(question) + len(way), tuple(follow[way]), tuple(taken))
        found.append(([*question, *turns[said]], fork))
    return found


class TriedPlans(msgspec.Struct):
    """States in which every plan was tried; B states, P plans, S turns of at most K tokens."""

    prompt: dict[str, Tensor]  # the processor's inputs, one row per state
    said: Tensor  # int64 (B, S, K): all up to as much of an answer as leads to the last fork
    said_mask: Tensor  # bool (B, S, K), padded on the right
    lead: Tensor  # int64 (B,): how many of the tokens are said before the question of the plan
    forks: tuple[Fork, ...]
    scores: Tensor  # (B, P)
    before: Tensor  # (B, P) log-probabilities of the plans before the training


class InstructBatch(msgspec.Struct):
    """Tried plans beside a batch of the supervised training."""

    tried: TriedPlans
    taught: PlannerBatch


def log_probabilities(language: nn.Module, tried: TriedPlans) -> Tensor:
    """Log-probabilities (B, P) of the plans under the grammar: at every fork one token is taken."""
    states, turns, length = tried.said.shape
    repeated = {name: _each(tensor, turns, states) for name, tensor in tried.prompt.items()}
    said, mask = tried.said.flatten(0, 1), tried.said_mask.flatten(0, 1)
    _, _, logits = run_over(language, repeated, said, mask, length + 1)
    each = logits.float().unflatten(0, (states, turns))
    total = each.new_zeros(states, tried.scores.shape[1])
    for fork in tried.forks:
        tokens, taken = (torch.tensor(n, device=each.device) for n in (fork.tokens, fork.taken))
        at = (tried.lead + fork.at)[:, None, None].expand(-1, 1, each.shape[-1])
        parts = each[:, fork.said].gather(1, at)[:, 0, tokens].log_softmax(-1)
        total = total + parts[:, taken] * (taken >= 0)
    return total


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
