"""Tiny untrained models of other families than our own, as `transformers` makes them, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from dualsys.system2.build import CHAT_TEMPLATE, _tokenizer
from dualsys.system2.language import LanguageModel
from tests.planners import TINY, sentences

TEXT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 1024,
}


class QwenProcessor:
    """Qwen2-VL's processor for images alone: the real one can not be made without torchvision."""

    # Something stands between two images, as in Qwen's own template.
    around = "<fake_token_around_image>"
    chat_template = CHAT_TEMPLATE.replace("<image>", f"{around}<image>{around}")

    def __init__(self, tokenizer: Any) -> None:
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
            Qwen2VLImageProcessorPil,
        )

        size = {"shortest_edge": 16 * 16, "longest_edge": 64 * 64}
        self.images = Qwen2VLImageProcessorPil(
            patch_size=8, merge_size=2, temporal_patch_size=2, size=size
        )
        self.tokenizer = tokenizer

    def apply_chat_template(self, *given: Any, **options: Any) -> str:
        prompt: str = self.tokenizer.apply_chat_template(
            *given, chat_template=self.chat_template, **options
        )
        return prompt

    def __call__(
        self, text: Sequence[str], images: Sequence[Sequence[Image.Image]], **options: Any
    ) -> dict[str, torch.Tensor]:
        seen = self.images([image for turn in images for image in turn], return_tensors="pt")
        grids = iter(seen["image_grid_thw"].prod(-1).tolist())
        parts = [prompt.split("<image>") for prompt in text]
        written = [
            first + "".join("<image>" * (next(grids) // 4) + part for part in rest)
            for first, *rest in parts
        ]
        batch = dict(self.tokenizer(written, **options))
        image = self.tokenizer.convert_tokens_to_ids("<image>")
        kinds = {"mm_token_type_ids": (batch["input_ids"] == image).int()}
        return {**batch, **seen, **kinds}


def qwen(**text: Any) -> LanguageModel:
    """Qwen2.5-VL: image tokens have rows and columns for positions (M-RoPE)."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer = _tokenizer(TINY, sentences())
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_heads": 2,
        "patch_size": 8,
        "out_hidden_size": 16,
        "window_size": 32,
        "fullatt_block_indexes": [0],
    }
    config = Qwen2_5_VLConfig(
        text_config={**TEXT, "vocab_size": len(tokenizer), "rope_parameters": rope, **text},
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    torch.manual_seed(0)
    return LanguageModel(Qwen2_5_VLForConditionalGeneration(config), QwenProcessor(tokenizer))


def llava() -> LanguageModel:
    """LLaVA: a CLIP tower before a Llama."""
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = _tokenizer(TINY, sentences())
    tower = {**TEXT, "image_size": 64, "patch_size": 16}
    for name in ("num_key_value_heads", "max_position_embeddings"):
        del tower[name]
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**tower),
        text_config=LlamaConfig(**TEXT, vocab_size=len(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    edge = {"height": 64, "width": 64}
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size=edge, crop_size=edge),
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=CHAT_TEMPLATE,
        num_additional_image_tokens=1,
    )
    torch.manual_seed(0)
    return LanguageModel(LlavaForConditionalGeneration(config), processor)
