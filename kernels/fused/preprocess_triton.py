"""Picture to network input in one pass (Triton); `preprocess.py` holds the reference."""

import triton
import triton.language as tl


@triton.jit
def preprocess_kernel(
    image, segments, centre, spread, out, count,
    H: tl.constexpr, W: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    REACH2: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """image uint8 (N, H, W, 3) -> out half (N, 3, ROWS, COLUMNS); segments (count, 7)."""
    number = tl.program_id(1)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < ROWS * COLUMNS
    row, column = at // COLUMNS, at % COLUMNS
    # Bilinear about the centres of pixels; the border's pixels go on for ever.
    y = tl.maximum((row + 0.5) * (H / ROWS) - 0.5, 0.0)
    x = tl.maximum((column + 0.5) * (W / COLUMNS) - 0.5, 0.0)
    top, left = y.to(tl.int32), x.to(tl.int32)
    below, right = tl.minimum(top + 1, H - 1), tl.minimum(left + 1, W - 1)
    down, across = y - top, x - left
    hit = tl.full((BLOCK,), -1, tl.int32)
    for index in range(count):
        one = segments + index * 7
        from_x, from_y = tl.load(one), tl.load(one + 1)
        along_x, along_y = tl.load(one + 2) - from_x, tl.load(one + 3) - from_y
        to_x, to_y = column - from_x, row - from_y
        length2 = tl.maximum(along_x * along_x + along_y * along_y, 1e-12)
        part = (to_x * along_x + to_y * along_y) / length2
        part = tl.minimum(tl.maximum(part, 0.0), 1.0)
        off_x, off_y = to_x - part * along_x, to_y - part * along_y
        hit = tl.where(off_x * off_x + off_y * off_y <= REACH2, index, hit)
    base = image + number * H * W * 3
    for channel in tl.static_range(3):
        a = tl.load(base + (top * W + left) * 3 + channel, mask=inside, other=0).to(tl.float32)
        b = tl.load(base + (top * W + right) * 3 + channel, mask=inside, other=0).to(tl.float32)
        c = tl.load(base + (below * W + left) * 3 + channel, mask=inside, other=0).to(tl.float32)
        d = tl.load(base + (below * W + right) * 3 + channel, mask=inside, other=0).to(tl.float32)
        upper, lower = a + (b - a) * across, c + (d - c) * across
        value = upper + (lower - upper) * down
        drawn = tl.load(segments + hit * 7 + 4 + channel, mask=inside & (hit >= 0), other=0.0)
        value = tl.where(hit >= 0, drawn, value)
        value = (value - tl.load(centre + channel)) / tl.load(spread + channel)
        place = out + (number * 3 + channel) * ROWS * COLUMNS + at
        tl.store(place, value.to(out.dtype.element_ty), mask=inside)
