"""System 2's heads on the language model's hidden states: candidates, value, bottleneck.

Candidates (Hume, arXiv 2505.21432): one noise draw, one integration of the flow, stopped at N
depths. Value: a learnable query per critic scores the whole chunk. Bottleneck: finite scalar
quantisation (arXiv 2309.15505). All heads read a fixed number of tokens, so shapes are fixed.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from dualsys.flow import Block, integrate, keys_values, time_embedding
from dualsys.system2.sizes import HeadsConfig


class Readout(nn.Module):
    """Reads the prefix: hidden states of any length -> a fixed number of tokens."""

    def __init__(self, config: HeadsConfig) -> None:
        super().__init__()
        width = config.width
        self.queries = nn.Parameter(0.02 * torch.randn(config.read_tokens, width))
        self.inner = nn.Sequential(
            nn.LayerNorm(config.text_width), nn.Linear(config.text_width, width)
        )
        self.attend = nn.MultiheadAttention(width, config.heads, batch_first=True)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width)
        )
        self.state_in = nn.Linear(config.state_size, width)
        self.plan_in = nn.Linear(config.plans, width)
        self.norm = nn.LayerNorm(width)
        self.proposal_in = _proposal_in(config) if config.proposal_ticks else None

    def forward(
        self,
        hidden: Tensor,
        mask: Tensor,
        state: Tensor,
        plan: Tensor,
        proposal: Tensor | None = None,
    ) -> Tensor:
        """Tokens (B, L', width) from prefix, state, plan and System 1's proposal.

        hidden (B, L, text_width), mask (B, L) true where there is a token, state (B, S) normalised,
        plan (B, P) one-hot or zeros, proposal (B, T, A) normalised, zeros or None where there is
        none. L' is read_tokens + 2, and one more in heads that read proposals.
        """
        inner = self.inner(hidden)
        queries = self.queries.expand(len(hidden), -1, -1)
        read, _ = self.attend(queries, inner, inner, key_padding_mask=~mask, need_weights=False)
        read = queries + read
        read = read + self.mlp(read)
        extra = [self.state_in(state), self.plan_in(plan)]
        if self.proposal_in is not None:
            given = proposal.flatten(1) if proposal is not None else self._nothing(len(hidden))
            there = (given != 0).any(1, keepdim=True).to(given.dtype)
            extra.append(self.proposal_in(torch.cat([given, there], 1)))
        tokens: Tensor = self.norm(torch.cat([read, torch.stack(extra, 1)], 1))
        return tokens

    def _nothing(self, batch: int) -> Tensor:
        assert self.proposal_in is not None
        inner: Any = self.proposal_in[0]
        return self.queries.new_zeros(batch, inner.in_features - 1)


def _proposal_in(config: HeadsConfig) -> nn.Sequential:
    inner = 2 * config.width
    size = config.proposal_ticks * config.action_size
    told = nn.Linear(inner, config.width)
    nn.init.zeros_(told.weight)  # at first it says nothing: what was learned without it holds
    nn.init.zeros_(told.bias)
    return nn.Sequential(nn.Linear(size + 1, inner), nn.GELU(), told)


class CandidateHead(nn.Module):
    """Flow matching from noise to an action chunk (B, knots, A), given the read tokens."""

    def __init__(self, config: HeadsConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.layers))
        self.context_kv = nn.ModuleList(nn.Linear(width, 2 * width) for _ in self.blocks)
        self.action_in = nn.Linear(config.action_size, width)
        self.place = nn.Parameter(0.02 * torch.randn(config.knots, width))
        self.time_in = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, config.action_size)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def cache(self, tokens: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the tokens (B, L, width), once for all flow steps."""
        return [keys_values(layer(tokens), self.config.heads) for layer in self.context_kv]

    def velocity(self, x: Tensor, tau: Tensor, cached: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Velocity of the flow at x (B, knots, A) and tau (B,) -> (B, knots, A)."""
        time = self.time_in(time_embedding(tau, self.config.width))[:, None]
        hidden = self.action_in(x) + self.place
        for block, (key, value) in zip(self.blocks, cached, strict=True):
            hidden = block(hidden, key, value, time)
        out: Tensor = self.out(self.norm(hidden))
        return out

    def ladder(self, noise: Tensor, tokens: Tensor, count: int) -> Tensor:
        """Candidates (B, count, knots, A) from one noise draw (B, knots, A) and one integration.

        Candidate n = 1..count is the flow stopped at tau = 1 - (n - 1) xi, on the grid of the Euler
        steps. Raises `DualsysError` when the ladder reaches down to tau = 0.
        """
        depths, cached = self.config.depths(count), self.cache(tokens)
        steps = self.config.flow_steps
        path = integrate(lambda x, tau: self.velocity(x, tau, cached), noise, steps)
        return torch.stack([path[depth] for depth in depths], 1)


class ValueHead(nn.Module):
    """Twin critics: Q(tokens, chunk); a learnable query token per critic is read out."""

    CRITICS = 2
    PATCH = 4  # knots per token

    def __init__(self, config: HeadsConfig) -> None:
        super().__init__()
        width = config.width
        self.queries = nn.Parameter(0.02 * torch.randn(self.CRITICS, width))
        self.chunk_in = nn.Linear(self.PATCH * config.action_size, width)
        self.place = nn.Parameter(0.02 * torch.randn(config.knots // self.PATCH, width))
        layer = nn.TransformerEncoderLayer(
            width, config.heads, 3 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.value = nn.Parameter(torch.zeros(self.CRITICS, width))
        self.bias = nn.Parameter(torch.zeros(self.CRITICS))

    def forward(self, tokens: Tensor, chunks: Tensor) -> Tensor:
        """Values (B, N, 2) of chunks (B, N, knots, A) given tokens (B, L, width)."""
        batch, count, knots, size = chunks.shape
        patched = chunks.reshape(batch * count, knots // self.PATCH, self.PATCH * size)
        patches = self.chunk_in(patched) + self.place
        context = tokens.repeat_interleave(count, 0)
        queries = self.queries.expand(batch * count, -1, -1)
        read = self.layers(torch.cat([queries, context, patches], 1))[:, : self.CRITICS]
        values = (self.out(read) * self.value).sum(-1)
        # The bias last: OpenVINO 2026.4 adds it to the wrong entries of a (N, 2) sum.
        return values.unflatten(0, (batch, count)) + self.bias


class Bottleneck(nn.Module):
    """The plan vector as a small discrete code: finite scalar quantisation."""

    def __init__(self, config: HeadsConfig) -> None:
        super().__init__()
        if config.code_levels < 2:
            raise ValueError(f"code_levels must be at least 2, it is {config.code_levels}")
        self.levels = config.code_levels
        self.size = config.code_size
        # Not the proposal's: a message need not tell System 1 what System 1 proposed.
        self.tokens = config.read_tokens + 2
        self.down = nn.Linear(self.tokens * config.width, config.code_size)

    @property
    def bits(self) -> float:
        """Nominal bits per message: code_size log2(levels)."""
        return self.size * math.log2(self.levels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Code (B, code_size), each value one of `levels` in [-1, 1]; gradients pass straight."""
        bounded = torch.tanh(self.down(tokens[:, : self.tokens].flatten(1)))
        half = (self.levels - 1) / 2
        level = torch.round((bounded + 1) * half)
        hard = level / half - 1
        return bounded + (hard - bounded).detach()


class Heads(nn.Module):
    """All heads of one domain, with the decoder that gives the bottleneck its task."""

    def __init__(self, config: HeadsConfig) -> None:
        super().__init__()
        self.config = config
        self.readout = Readout(config)
        self.candidates = CandidateHead(config)
        self.value = ValueHead(config)
        self.bottleneck = Bottleneck(config)
        inner = 4 * config.width
        # What the code alone can tell: the plan and the outline of the expert's chunk.
        self.decode = nn.Sequential(
            nn.Linear(config.code_size, inner),
            nn.GELU(),
            nn.Linear(inner, config.plans + config.knots * config.action_size),
        )

    def decoded(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Plan logits (B, P) and chunk outline (B, knots, A) from a code (B, code_size)."""
        c = self.config
        plan, chunk = self.decode(code).split([c.plans, c.knots * c.action_size], -1)
        return plan, chunk.unflatten(-1, (c.knots, c.action_size))
