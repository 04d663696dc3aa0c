"""The whole flow loop of System 1 in one launch (Triton); `flow.py` packs its arguments.

One program flies one chunk from its source to its end: all Euler steps, all blocks. Actions and
hidden states stay in registers in float32; weights are read in `DTYPE` and products are summed in
float32. Heads are taken one after the other, so that no tensor changes its layout: a head's slice
of the output projection is added to the sum as soon as the head is done.
"""

import triton
import triton.language as tl


@triton.jit
def _normed(x, EPS: tl.constexpr, D: tl.constexpr):
    centred = x - (tl.sum(x, 1) / D)[:, None]
    variance = tl.sum(centred * centred, 1) / D
    return centred * tl.rsqrt(variance + EPS)[:, None]


@triton.jit
def _modulated(x, modulation, known, columns, INDEX: tl.constexpr, D: tl.constexpr):
    """Norm `INDEX` of a block; committed tokens stand at tau = 1, the second row of constants."""
    at = modulation + 2 * INDEX * D + columns
    scale = tl.where(known[:, None], tl.load(at + 6 * D)[None, :], tl.load(at)[None, :])
    shift = tl.where(known[:, None], tl.load(at + 7 * D)[None, :], tl.load(at + D)[None, :])
    return _normed(x, 1e-5, D) * (1 + scale) + shift


@triton.jit
def _attended(q, key_transposed, value, keys_known, SCALE: tl.constexpr, DTYPE: tl.constexpr):
    """Softmax attention of one head; float32 weights and sums."""
    scores = tl.dot(q.to(DTYPE), key_transposed, input_precision="ieee") * SCALE
    scores = tl.where(keys_known[None, :], scores, float("-inf"))
    weights = tl.exp(scores - tl.max(scores, 1)[:, None])
    weights = weights / tl.sum(weights, 1)[:, None]
    return tl.dot(weights.to(DTYPE), value, input_precision="ieee")


@triton.jit
def _projected(x, weight, bias, rows, columns, STRIDE: tl.constexpr):
    """x (T, rows) @ weight[rows, columns] + bias[columns]."""
    tile = tl.load(weight + rows[:, None] * STRIDE + columns[None, :])
    return tl.dot(x, tile, input_precision="ieee") + tl.load(bias + columns)[None, :]


@triton.jit
def flow_kernel(
    source, out, committed, keys, values, modulation, action_in, place,
    w_qkv, b_qkv, w_self, b_self, w_q, b_q, w_cross, b_cross, w_up, b_up, w_down, b_down,
    gain, shift, w_action, b_action,
    T: tl.constexpr, TOKENS: tl.constexpr, A: tl.constexpr, ACTIONS: tl.constexpr,
    D: tl.constexpr, HEADS: tl.constexpr, C: tl.constexpr, CONTEXT: tl.constexpr,
    LAYERS: tl.constexpr, STEPS: tl.constexpr, HIDDEN: tl.constexpr, PART: tl.constexpr,
    DTYPE: tl.constexpr,
):  # fmt: skip
    """source, out (N, T, A) float32; committed (N, T); keys, values (LAYERS, HEADS, C, D / HEADS).

    modulation (STEPS, LAYERS, 2, 6, D); place (T, D) with the bias of `action_in` (ACTIONS, D).
    TOKENS, ACTIONS and CONTEXT are T, A and C filled up to what the matrix units take.
    """
    WIDE: tl.constexpr = D // HEADS
    SCALE: tl.constexpr = WIDE**-0.5
    sample = tl.program_id(0)
    tokens, columns = tl.arange(0, TOKENS), tl.arange(0, D)
    narrow, actions = tl.arange(0, WIDE), tl.arange(0, ACTIONS)
    seen, part = tl.arange(0, CONTEXT), tl.arange(0, PART)
    real = tokens < T
    cell = (sample * T + tokens[:, None]) * A + actions[None, :]
    inside = real[:, None] & (actions < A)[None, :]
    x = tl.load(source + cell, mask=inside, other=0.0)
    known = tl.load(committed + sample * T + tokens, mask=real, other=0.0) > 0
    placed = tl.load(place + tokens[:, None] * D + columns[None, :], mask=real[:, None], other=0.0)
    enter = tl.load(action_in + actions[:, None] * D + columns[None, :])
    leave = tl.load(w_action + columns[:, None] * ACTIONS + actions[None, :])
    for step in range(STEPS):
        hidden = tl.dot(x, enter, input_precision="ieee") + placed
        for layer in range(LAYERS):
            constants = modulation + (step * LAYERS + layer) * 12 * D
            n = _modulated(hidden, constants, known, columns, 0, D).to(DTYPE)
            total = tl.zeros((TOKENS, D), tl.float32)
            qkv, qkv_bias = w_qkv + layer * 3 * D * D, b_qkv + layer * 3 * D
            for head in range(HEADS):
                mine = head * WIDE + narrow
                q = _projected(n, qkv, qkv_bias, columns, mine, 3 * D)
                k = _projected(n, qkv, qkv_bias, columns, D + mine, 3 * D).to(DTYPE)
                v = _projected(n, qkv, qkv_bias, columns, 2 * D + mine, 3 * D).to(DTYPE)
                found = _attended(q, tl.trans(k), v, real, SCALE, DTYPE).to(DTYPE)
                rows = w_self + layer * D * D + mine[:, None] * D
                total += tl.dot(found, tl.load(rows + columns[None, :]), input_precision="ieee")
            hidden += total + tl.load(b_self + layer * D + columns)[None, :]

            n = _modulated(hidden, constants, known, columns, 1, D).to(DTYPE)
            total = tl.zeros((TOKENS, D), tl.float32)
            for head in range(HEADS):
                mine = head * WIDE + narrow
                q = _projected(n, w_q + layer * D * D, b_q + layer * D, columns, mine, D)
                start = (layer * HEADS + head) * C * WIDE
                k = tl.load(
                    keys + start + seen[None, :] * WIDE + narrow[:, None],
                    mask=(seen < C)[None, :], other=0.0,
                )  # fmt: skip
                v = tl.load(
                    values + start + seen[:, None] * WIDE + narrow[None, :],
                    mask=(seen < C)[:, None], other=0.0,
                )  # fmt: skip
                found = _attended(q, k, v, seen < C, SCALE, DTYPE).to(DTYPE)
                rows = w_cross + layer * D * D + mine[:, None] * D
                total += tl.dot(found, tl.load(rows + columns[None, :]), input_precision="ieee")
            hidden += total + tl.load(b_cross + layer * D + columns)[None, :]

            n = _modulated(hidden, constants, known, columns, 2, D).to(DTYPE)
            total = tl.zeros((TOKENS, D), tl.float32)
            up, up_bias = w_up + layer * D * HIDDEN, b_up + layer * HIDDEN
            for first in range(0, HIDDEN, PART):
                mine = first + part
                u = _projected(n, up, up_bias, columns, mine, HIDDEN)
                # GELU by tanh, written with a sigmoid: 1 + tanh(y) = 2 sigmoid(2 y).
                inner = 1.5957691216057308 * (u + 0.044715 * u * u * u)
                u = u * tl.sigmoid(tl.maximum(inner, -80.0))  # beyond, exp overflows and u is 0
                rows = w_down + layer * D * HIDDEN + mine[:, None] * D
                down = tl.load(rows + columns[None, :])
                total += tl.dot(u.to(DTYPE), down, input_precision="ieee")
            hidden += total + tl.load(b_down + layer * D + columns)[None, :]

        n = _normed(hidden, 1e-5, D) * tl.load(gain + columns)[None, :]
        n = n + tl.load(shift + columns)[None, :]
        velocity = tl.dot(n, leave, input_precision="ieee") + tl.load(b_action + actions)[None, :]
        x += tl.where(known[:, None], 0.0, velocity) / STEPS
    tl.store(out + cell, x, mask=inside)
