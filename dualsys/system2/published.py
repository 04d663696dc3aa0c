"""Planners at published sizes with random weights: how long a model takes does not depend on them.

Sizes as in the configurations that the projects publish with their models: SmolVLM (256M, 500M,
2.2B Instruct) and Qwen2.5-VL (3B Instruct).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dualsys.errors import DualsysError, UnknownNameError

IMAGE_TOKEN, TEXT_TOKEN = 7, 11  # of a vocabulary that nobody reads

_SIGLIP_BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
                "num_attention_heads": 12, "image_size": 512, "patch_size": 16}  # fmt: skip
_SIGLIP_400M = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
                "num_attention_heads": 16, "image_size": 384, "patch_size": 14}  # fmt: skip


def _llama(
    width: int, inner: int, layers: int, heads: int, key_value_heads: int, vocabulary: int = 49280
) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
        "vocab_size": vocabulary,
        "max_position_embeddings": 8192,
        "pad_token_id": 2,
    }


_SMOLVLM: dict[str, dict[str, Any]] = {
    "smolvlm-256m": {
        "vision_config": _SIGLIP_BASE,
        "text_config": _llama(576, 1536, 30, 9, 3),
        "scale_factor": 4,
    },
    "smolvlm-500m": {
        "vision_config": _SIGLIP_BASE,
        "text_config": _llama(960, 2560, 32, 15, 5),
        "scale_factor": 4,
    },
    "smolvlm-2.2b": {
        "vision_config": _SIGLIP_400M,
        "text_config": _llama(2048, 8192, 24, 32, 32),
        "scale_factor": 3,
    },
}
_QWEN: dict[str, dict[str, Any]] = {
    "qwen2.5-vl-3b": {
        "text_config": {
            "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36,
            "num_attention_heads": 16, "num_key_value_heads": 2, "vocab_size": 151936,
            "max_position_embeddings": 32768, "tie_word_embeddings": True,
            "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        },
        "vision_config": {
            "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
            "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2,
            "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31], "out_hidden_size": 2048,
        },
    },
}  # fmt: skip
_QWEN_IMAGE_PX = 448
PUBLISHED = (*_SMOLVLM, *_QWEN)


class PublishedPlanner:
    """A model of a published size and one prompt for it: a picture and so many words."""

    def __init__(self, name: str, device: str, dtype: torch.dtype, words: int) -> None:
        if name not in PUBLISHED:
            raise UnknownNameError("planner", name, PUBLISHED)
        self.name = name
        config = _config(name)
        try:
            self.model: nn.Module = _built(name, config, device, dtype)
        except torch.OutOfMemoryError as error:
            raise DualsysError(
                f"{name} does not fit into the memory of {device}; time a smaller planner"
            ) from error
        self.text_width: int = config.text_config.hidden_size
        self.pictures, tokens = _pictures(name, config, device, dtype)
        prompt = [IMAGE_TOKEN] * tokens + [TEXT_TOKEN] * words
        self.prompt = torch.tensor([prompt], device=device)
        self._kinds = torch.zeros_like(self.prompt)
        self._kinds[0, :tokens] = 1

    @property
    def parameters(self) -> int:
        """How many weights it has; shared ones count once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def see(self) -> Any:
        """The vision tower, and what makes tokens of it."""
        return self.model.model.get_image_features(**self.pictures)  # type: ignore[union-attr, operator]

    def read(self) -> Any:
        """The whole prompt once, with its cache and hidden states."""
        more = {"mm_token_type_ids": self._kinds} if self.name in _QWEN else {}
        return self.model(
            input_ids=self.prompt,
            **self.pictures,
            **more,
            use_cache=True,
            output_hidden_states=True,
            logits_to_keep=1,
        )

    def say(self, read: Any, tokens: int) -> Tensor:
        """So many tokens after the prompt, the likeliest each; the cache is put back after."""
        cache = read.past_key_values
        token = read.logits[:, -1].argmax(-1, keepdim=True)
        said = [token]
        for _ in range(tokens - 1):
            out = self.model(input_ids=token, past_key_values=cache, use_cache=True)
            token = out.logits[:, -1].argmax(-1, keepdim=True)
            said.append(token)
        cache.crop(1 - tokens)
        return torch.cat(said, 1)


def _config(name: str) -> Any:
    try:
        from transformers import Qwen2_5_VLConfig, SmolVLMConfig
    except ImportError as error:
        raise DualsysError(f"planners need the extra `vlm` ({error})") from error
    if name in _QWEN:
        return Qwen2_5_VLConfig(**_QWEN[name], image_token_id=IMAGE_TOKEN)
    return SmolVLMConfig(**_SMOLVLM[name], image_token_id=IMAGE_TOKEN, pad_token_id=2)


def _built(name: str, config: Any, device: str, dtype: torch.dtype) -> nn.Module:
    """Random weights, made where they are used: a large model need not pass through here."""
    from transformers import Qwen2_5_VLForConditionalGeneration, SmolVLMForConditionalGeneration

    kind = Qwen2_5_VLForConditionalGeneration if name in _QWEN else SmolVLMForConditionalGeneration
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            return kind(config).eval()
    finally:
        torch.set_default_dtype(before)


def _pictures(
    name: str, config: Any, device: str, dtype: torch.dtype
) -> tuple[dict[str, Tensor], int]:
    """One picture as the model's processor would give it, and the tokens that it becomes."""
    vision = config.vision_config
    if name in _QWEN:
        side = _QWEN_IMAGE_PX // vision.patch_size
        values = 3 * vision.temporal_patch_size * vision.patch_size**2
        pixels = torch.randn(side * side, values, device=device, dtype=dtype)
        grid = torch.tensor([[1, side, side]], device=device)
        found = {"pixel_values": pixels, "image_grid_thw": grid}
        return found, (side // vision.spatial_merge_size) ** 2
    size = vision.image_size
    pixels = torch.randn(1, 1, 3, size, size, device=device, dtype=dtype)
    tokens = (size // vision.patch_size // config.scale_factor) ** 2
    return {"pixel_values": pixels}, tokens
