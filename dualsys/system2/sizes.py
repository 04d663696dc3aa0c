"""Sizes of System 2: of the language model that is built here, and of the heads on it.

Plain dataclasses, so that the configuration's types and the modules share them.
"""

from __future__ import annotations

from dataclasses import dataclass

from dualsys.errors import DualsysError


@dataclass
class ModelSizes:
    """Sizes of the vision tower and of the language model that is built when no base= is given."""

    image_px: int = 64
    patch_px: int = 8
    shuffle: int = 2  # pixel shuffle: shuffle**2 patches become one token
    vision_width: int = 192
    vision_layers: int = 4
    vision_heads: int = 4
    text_width: int = 256
    text_layers: int = 6
    text_heads: int = 4
    key_value_heads: int = 2
    vocabulary: int = 1024
    positions: int = 1024

    @property
    def tokens_per_image(self) -> int:
        """Language-model tokens that one image becomes."""
        return (self.image_px // self.patch_px // self.shuffle) ** 2


@dataclass
class HeadSizes:
    """Sizes of the heads that are not given by the world or the language model."""

    knots: int = 32
    width: int = 128
    layers: int = 3
    heads: int = 4
    read_tokens: int = 16
    proposal_ticks: int = 0  # of System 1's own chunk that the heads read as numbers; 0: none
    flow_steps: int = 10
    depth_step: float = 0.1  # xi: candidate n stops at tau = 1 - (n - 1) xi
    code_size: int = 8
    code_levels: int = 4

    def depths(self, count: int) -> list[int]:
        """Euler steps after which the flow of candidate n = 1..count stops: tau = 1 - (n - 1) xi.

        Raises `DualsysError` for more candidates than there are depths above tau = 0, where a
        candidate would be the noise itself.
        """
        found: list[int] = []
        for number in range(count):
            depth = round((1 - number * self.depth_step) * self.flow_steps)
            if depth <= 0 or (found and depth >= found[-1]):
                raise DualsysError(
                    f"{count} candidates do not fit a flow of {self.flow_steps} steps whose next "
                    f"candidate stops {self.depth_step} earlier; take {len(found)} or fewer"
                )
            found.append(depth)
        return found


@dataclass(kw_only=True)
class HeadsConfig(HeadSizes):
    """All sizes of the heads. A chunk has `knots` commands, `stride_ticks` control ticks apart."""

    text_width: int
    state_size: int
    action_size: int
    plans: int
    stride_ticks: int
