"""Picture to network input in one pass: resize, draw the visual prompts in, normalise, HWC to CHW.

What it costs for N pictures of H x W pixels made h x w: N (3 H W + 6 h w) bytes (uint8 in, half
out); a 512 x 512 picture 2.4 MB, half a microsecond at 4.8 TB/s. Every output pixel takes some 40
operations and 20 more for each segment of a line, far less than the memory's time: one pass over
memory is the floor, and done by single operators it would be at least five.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kernels.fused import runs

BLOCK = 256  # output pixels of a program
LAUNCH = {"num_warps": 4}
WIDTH_PX = 1.5  # of a line, in output pixels


def segments_of(
    lines: np.ndarray, colours: np.ndarray, scale: tuple[float, float] = (1.0, 1.0)
) -> np.ndarray:
    """Pixel lines (K, P, 2), u right and v down, and colours (K, P - 1, 3) -> float32 (S, 7).

    `scale` is the output's size over the picture's, (u, v). A row is start, end and colour; later
    rows are drawn over earlier ones, so the first line comes last. What is not finite is not drawn.
    """
    factor = np.asarray(scale)
    at = (lines + 0.5) * factor - 0.5  # the centre of the first pixel is 0 in both
    rows = np.concatenate([at[:, :-1], at[:, 1:], colours], -1)[::-1].reshape(-1, 7)
    return rows[np.isfinite(rows).all(1)].astype(np.float32)


def preprocess_reference(
    image: Tensor, segments: Tensor, size: tuple[int, int], centre: Tensor, spread: Tensor
) -> Tensor:
    """What `preprocess` computes, by torch's own operators, in float32."""
    pixels = image.permute(0, 3, 1, 2).float()
    value = functional.interpolate(pixels, size, mode="bilinear", align_corners=False)
    rows, columns = torch.meshgrid(
        *(torch.arange(n, device=image.device) for n in size), indexing="ij"
    )
    place = torch.stack([columns, rows], -1).float()
    for segment in segments:
        start, along = segment[:2], segment[2:4] - segment[:2]
        part = ((place - start) @ along / (along @ along).clamp(min=1e-12)).clamp(0, 1)
        away = (place - start - part[..., None] * along).square().sum(-1)
        value = torch.where(away <= (WIDTH_PX / 2) ** 2, segment[4:, None, None], value)
    return (value - centre[:, None, None]) / spread[:, None, None]


def preprocess(
    image: Tensor,
    segments: Tensor,
    size: tuple[int, int],
    centre: Tensor,
    spread: Tensor,
    dtype: torch.dtype = torch.float16,
) -> Tensor:
    """Image uint8 (N, H, W, 3) -> `dtype` (N, 3, *size).

    segments (S, 7) of `segments_of` are drawn into all pictures; centre and spread (3,) are in
    units of the picture's values, 0 to 255. One launch where Triton runs, else the reference.
    """
    if not runs(image):
        return preprocess_reference(image, segments, size, centre, spread).to(dtype)
    from kernels.fused.preprocess_triton import preprocess_kernel

    count, height, width, _ = image.shape
    out = torch.empty((count, 3, *size), dtype=dtype, device=image.device)
    grid = (-(-size[0] * size[1] // BLOCK), count)
    preprocess_kernel[grid](
        image.contiguous(), segments.contiguous(), centre.float(), spread.float(), out,
        len(segments), **constants(height, width, size), **LAUNCH,
    )  # fmt: skip
    return out


def constants(height: int, width: int, size: tuple[int, int]) -> dict[str, int | float]:
    """What the kernel is compiled for."""
    return {
        "H": height, "W": width, "ROWS": size[0], "COLUMNS": size[1],
        "REACH2": (WIDTH_PX / 2) ** 2, "BLOCK": BLOCK,
    }  # fmt: skip
