"""System 1's flow loop as one launch: packing, launch, cost, and the torch reference beside it.

What the loop costs, for N chunks of T actions over L blocks of width D, K Euler steps and C tokens
of context (driving: T 16, L 3, D 128, K 4, C 70):

* operations: 2 N K L T (12 D^2 + 2 D (T + C)); driving 84 million for one chunk;
* bytes: the weights once, 12 L D^2 and the constants of the steps, and the context; driving 1.4 MB
  in half precision.

`cost` computes both; the floor is the larger of bytes / bandwidth and operations / throughput of
one multiprocessor a chunk, for a chunk does not leave the one it is on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from torch import Tensor, nn

from dualsys.errors import DualsysError
from dualsys.flow import time_embedding
from kernels.fused import runs

if TYPE_CHECKING:
    from dualsys.system1.network import Context, System1Network

LEAST = 16  # rows and columns that the matrix units take at least
LAUNCH = {"num_warps": 8, "num_stages": 2}  # with fewer warps or more stages registers spill
PART = 64  # hidden units of the MLP that are in registers at a time


class Cost(msgspec.Struct, frozen=True):
    """What has to be read from memory, and multiplied and added, whatever the implementation."""

    bytes: int
    operations: int


class FusedFlow(nn.Module):
    """`System1Network.flow` for a fixed number of steps, its weights packed for the kernel.

    dtype: float16 or float32, what weights and products' inputs are held in; sums are float32.
    Where Triton does not run it is the network's own flow. Raises `DualsysError` for sizes and
    types that the kernel does not take.
    """

    def __init__(self, network: System1Network, dtype: torch.dtype = torch.float16) -> None:
        super().__init__()
        config = network.config
        head = config.width // config.heads
        if not (_power_of_two(config.width) and _power_of_two(head) and head >= LEAST):
            raise DualsysError(
                f"the fused flow kernel takes widths that are powers of two with heads of {LEAST} "
                f"or more, the network is {config.width} wide with {config.heads} heads; use an "
                "engine without it"
            )
        if dtype not in (torch.float16, torch.float32):
            raise DualsysError(
                f"the fused flow kernel computes in float16 or float32, {dtype} was asked for"
            )  # Triton's interpreter can not show that bfloat16 is right
        self.network, self.config, self.dtype = network, config, dtype
        self.actions = max(LEAST, _ceiling(config.action_size))
        with torch.no_grad():
            for name, tensor in _packed(network, self.actions, dtype).items():
                self.register_buffer(name, tensor.contiguous(), persistent=False)

    def forward(self, source: Tensor, context: Context, committed: Tensor | None = None) -> Tensor:
        """Source (N, T, A) over the context of one observation -> chunks (N, T, A), normalised.

        committed (1, T) or (N, T): 1 where `source` holds committed actions, which stay.
        """
        if not runs(source):
            return self.network.flow(source, context, self.config.flow_steps, committed)
        keys, values = (
            torch.stack([t[0] for t in tensors]).to(self.dtype).contiguous()
            for tensors in (context.keys, context.values)
        )
        return self.fly(source, keys, values, committed)

    def fly(
        self, source: Tensor, keys: Tensor, values: Tensor, committed: Tensor | None = None
    ) -> Tensor:
        """As `forward`, with keys and values packed: (blocks, heads, C, D / heads) in `dtype`."""
        from kernels.fused.flow_triton import flow_kernel

        config, count = self.config, source.shape[0]
        source = source.float().contiguous()
        if committed is None:
            committed = source.new_zeros(1, config.horizon)
        committed = committed.float().expand(count, -1).contiguous()
        out = torch.empty_like(source)
        weights = [self.get_buffer(name) for name in ORDER]
        flow_kernel[(count,)](
            source, out, committed, keys, values, *weights,
            **self.constants(keys.shape[2]), **LAUNCH,
        )  # fmt: skip
        return out

    def constants(self, context: int) -> dict[str, object]:
        """What the kernel is compiled for, `context` tokens being seen."""
        import triton.language as tl

        config = self.config
        kinds = {torch.float16: tl.float16, torch.float32: tl.float32}
        return {
            "T": config.horizon, "TOKENS": max(LEAST, _ceiling(config.horizon)),
            "A": config.action_size, "ACTIONS": self.actions,
            "D": config.width, "HEADS": config.heads,
            "C": context, "CONTEXT": max(LEAST, _ceiling(context)),
            "LAYERS": config.layers, "STEPS": config.flow_steps,
            "HIDDEN": self.get_buffer("w_up").shape[-1], "PART": PART, "DTYPE": kinds[self.dtype],
        }  # fmt: skip

    def cost(self, chunks: int, context: int) -> Cost:
        """Bytes and operations of flying `chunks` chunks over `context` tokens."""
        c, size = self.config, torch.finfo(self.dtype).bits // 8
        t, d, hidden = c.horizon, c.width, self.get_buffer("w_up").shape[-1]
        per_token = 6 * d * d + 2 * d * hidden + 2 * d * (t + context)
        weights = sum(self.get_buffer(name).nbytes for name in ORDER)
        seen = 2 * c.layers * context * d * size
        moved = 2 * chunks * t * c.action_size * 4
        return Cost(weights + seen + moved, 2 * chunks * c.flow_steps * c.layers * t * per_token)


ORDER = ("modulation", "action_in", "place", "w_qkv", "b_qkv", "w_self", "b_self", "w_q", "b_q",
         "w_cross", "b_cross", "w_up", "b_up", "w_down", "b_down", "gain", "shift", "w_action",
         "b_action")  # fmt: skip
"""The kernel's weights, in the order of its arguments."""


def _packed(network: System1Network, actions: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """All weights as (in, out) matrices, blocks first; constants of a step worked out."""
    blocks: list[Any] = list(network.blocks)
    extra = actions - network.config.action_size
    found = {"modulation": _modulations(network)}
    found["action_in"] = nn.functional.pad(network.action_in.weight.T, (0, 0, 0, extra)).float()
    found["place"] = (network.action_place + network.action_in.bias).float()
    for name, layers in {
        "qkv": [b.self_qkv for b in blocks],
        "self": [b.self_out for b in blocks],
        "q": [b.cross_q for b in blocks],
        "cross": [b.cross_out for b in blocks],
        "up": [b.mlp[0] for b in blocks],
        "down": [b.mlp[2] for b in blocks],
    }.items():
        found[f"w_{name}"], found[f"b_{name}"] = _stacked(layers, dtype)
    found["gain"], found["shift"] = (
        t.float() for t in (network.action_norm.weight, network.action_norm.bias)
    )
    out = network.action_out
    found["w_action"] = nn.functional.pad(out.weight.T, (0, extra)).float()
    found["b_action"] = nn.functional.pad(out.bias, (0, extra)).float()
    return found


def _stacked(layers: Sequence[nn.Linear], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    weight = torch.stack([layer.weight.T for layer in layers]).to(dtype)
    return weight, torch.stack([layer.bias for layer in layers]).float()


def _modulations(network: System1Network) -> Tensor:
    """(steps, blocks, 2, 6, D): what flow time does to the norms, at the step's time and at 1."""
    steps, width = network.config.flow_steps, network.config.width
    at = torch.arange(steps, device=network.place.device, dtype=network.place.dtype) / steps
    times = torch.stack([at, torch.ones_like(at)], 1)
    embedded = network.time_in(time_embedding(times, width))
    blocks: list[Any] = list(network.blocks)
    constants = torch.stack([block.modulate(embedded) for block in blocks], 1)
    return constants.unflatten(-1, (6, width)).float()


def _power_of_two(number: int) -> bool:
    return number & (number - 1) == 0


def _ceiling(number: int) -> int:
    """The next power of two."""
    return 1 << (number - 1).bit_length()
