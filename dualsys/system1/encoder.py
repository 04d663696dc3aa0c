"""System 1's image encoder: small convolutions, keypoints by spatial softmax, a grid of tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FINE = 48  # channels of the fine feature map


def pixels_of(image: Tensor, dtype: torch.dtype) -> Tensor:
    """A uint8 image (B, H, W, C) as a network takes it: (B, C, H, W) from -1 to 1."""
    return image.permute(0, 3, 1, 2).to(dtype).sub(127.5).mul(1 / 127.5)


class ImageEncoder(nn.Module):
    """uint8 image -> keypoints (B, 2 K) in [-1, 1] and tokens (B, grid * grid, width).

    Keypoints (Finn et al. 2016, arXiv 1509.06113) carry where things are to a fraction of a pixel;
    the tokens carry what is there.
    """

    def __init__(
        self, height: int, width: int, channels: int, features: int, keypoints: int, grid: int
    ) -> None:
        super().__init__()
        # Strides first: on a processor the cost is in the wide maps, and the soft-argmax below
        # recovers positions between the cells of the 1/4 resolution map.
        self.fine = nn.Sequential(
            nn.Conv2d(channels, 24, 5, stride=2, padding=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(24, FINE, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(FINE, FINE, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(FINE, FINE, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.heat = nn.Conv2d(FINE, keypoints, 1)
        self.coarse = nn.Sequential(nn.Conv2d(FINE, features, 3, stride=2, padding=1), nn.ReLU())
        pool = height // 8 // grid
        self.pool = nn.AvgPool2d(pool) if pool > 1 else nn.Identity()
        self.register_buffer("rows", torch.linspace(-1, 1, height // 4), persistent=False)
        self.register_buffer("columns", torch.linspace(-1, 1, width // 4), persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Image uint8 (B, H, W, C) -> keypoints (B, 2 K), tokens (B, grid * grid, features)."""
        fine = self.fine(pixels_of(image, self.heat.weight.dtype))
        tokens = self.pool(self.coarse(fine)).flatten(2).transpose(1, 2)
        heat = self.heat(fine).float()
        attention = heat.flatten(2).softmax(-1).view_as(heat)
        # Sums in float32: half precision would round a position to about a millimetre.
        x = (attention.sum(2) * self.get_buffer("columns")).sum(-1)
        y = (attention.sum(3) * self.get_buffer("rows")).sum(-1)
        return torch.cat([x, y], -1), tokens
