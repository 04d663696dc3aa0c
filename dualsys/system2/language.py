"""The vision-language model behind System 2: one cached prefix, answers decoded under a grammar.

A checkpoint that `transformers` opens as `AutoModelForImageTextToText` from a local folder will do,
if it has a chat template and full attention; nothing is ever fetched. This module is the only one
that imports transformers at run time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from dualsys.errors import DualsysError
from dualsys.finite import require_finite
from dualsys.spec import WorldSpec
from dualsys.system2.grammar import AnswerGrammar


class Prefix(msgspec.Struct):
    """A prompt that the model has read; `cache` is extended in place by what follows it.

    Only the newest prefix can be gone on with: some models remember where its image tokens ended.

    hidden (1, L, D): last hidden states of the prompt alone; logits (V,): for the token after the
    `length` tokens of the cache; said: tokens that follow these, and that nobody has read yet.
    """

    cache: Any
    hidden: Tensor
    logits: Tensor
    length: int
    said: list[int] = []


class Answer(msgspec.Struct, frozen=True):
    """One decoded answer: slot -> word, and its tokens."""

    words: dict[str, str]
    tokens: tuple[int, ...]


class LanguageModel:
    """Reads images and text once, then answers questions one after the other."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model.eval(), processor
        self.text_width: int = model.config.get_text_config().hidden_size
        # A checkpoint of another tokenizer would otherwise fail deep inside, image by image.
        self._image_token = getattr(model.config, "image_token_id", None)
        if self._image_token is None:
            raise DualsysError(
                f"{type(model).__name__} names no image token in its configuration; use an "
                "image-text checkpoint with its own processor"
            )
        theirs = getattr(processor, "image_token_id", self._image_token)
        if theirs != self._image_token:
            raise DualsysError(
                f"the model's image token is {self._image_token}, the tokenizer's {theirs}: they "
                "do not belong together; use the tokenizer that the model was trained with"
            )
        if not getattr(processor, "chat_template", None):
            raise DualsysError(
                f"the processor of this {type(model).__name__} has no chat template, without which "
                "a question can not be put; use a checkpoint that was tuned on conversations"
            )
        _require_rewinding(model)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> LanguageModel:
        """Open a local checkpoint. Raises `DualsysError` when the folder is none."""
        try:
            from safetensors import SafetensorError
            from transformers import AutoModelForImageTextToText, AutoProcessor
            from transformers.utils.logging import disable_progress_bar
        except ImportError as error:
            raise DualsysError(f"System 2 needs the extra `vlm` ({error})") from error
        disable_progress_bar()  # its bars would tear the command line's own
        if not (folder / "config.json").is_file():
            raise DualsysError(
                f"no vision-language checkpoint at {folder} (config.json is missing); train one "
                "with `dualsys train system2`, give system2.checkpoint=DIR, a local folder, or do "
                "without: system2=none"
            )
        try:
            # Nothing that came with weights runs: no code of the folder's own, no pickled weights.
            safely = {"local_files_only": True, "trust_remote_code": False}
            processor = AutoProcessor.from_pretrained(folder, **safely)
            model = AutoModelForImageTextToText.from_pretrained(
                folder, **safely, use_safetensors=True, dtype=torch.float32
            )
        except ImportError as error:
            raise DualsysError(
                f"{folder} needs a package that is not installed: {str(error).strip()}"
            ) from error
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise DualsysError(
                f"{folder} is no image-text checkpoint that transformers can open: "
                f"{str(error).splitlines()[0]}"
            ) from error
        require_finite(model.state_dict(), folder)
        return cls(model.to(torch.device(device)), processor)

    def tokenize(self, text: str) -> list[int]:
        """Tokens of running text, without special ones."""
        tokens: list[int] = self.processor.tokenizer.encode(text, add_special_tokens=False)
        return tokens

    def inputs(
        self, images: Sequence[Sequence[np.ndarray]], texts: Sequence[str]
    ) -> dict[str, Tensor]:
        """What the model is fed for a batch of user turns, padded on the left.

        images: for each turn its uint8 (H, W, 3) images, as many for each; texts follow them.
        Raises `DualsysError` when the tokens do not hold the images (a tokenizer without the image
        tokens, or another processor's).
        """
        from PIL import Image

        prompts = [
            self._prompt(len(shown), text) for shown, text in zip(images, texts, strict=True)
        ]
        pictures = [[Image.fromarray(image) for image in shown] for shown in images]
        self.processor.tokenizer.padding_side = "left"
        batch = self.processor(
            text=prompts, images=pictures if images[0] else None, return_tensors="pt", padding=True
        )
        if images[0] and not (batch["input_ids"] == self._image_token).any():
            raise DualsysError(
                f"the processor wrote no image token ({self._image_token}) for {len(images[0])} "
                "images: tokenizer and model do not belong together"
            )
        return {name: tensor.to(self.model.device) for name, tensor in batch.items()}

    def _prompt(self, images: int, text: str) -> str:
        content: list[dict[str, Any]] = [{"type": "image"} for _ in range(images)]
        content.append({"type": "text", "text": text})
        prompt: str = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return prompt

    @torch.inference_mode()
    def read(self, images: Sequence[np.ndarray], text: str) -> Prefix:
        """Read the prompt once; everything after goes on from its cache."""
        batch = self.inputs([images], [text])
        output = self.model(**batch, use_cache=True, output_hidden_states=True)
        length = batch["input_ids"].shape[1]
        return Prefix(
            output.past_key_values, output.hidden_states[-1], output.logits[0, -1], length
        )

    def say(self, prefix: Prefix, tokens: Sequence[int]) -> None:
        """Append `tokens` to the turn; they are read when it matters what follows them."""
        prefix.said.extend(tokens)

    @torch.inference_mode()
    def listen(self, prefix: Prefix) -> Tensor:
        """Logits (V,) for the next token, after reading all that was said in one pass."""
        if prefix.said:
            # No positions: where a prompt's images count as one or as many is the model's affair.
            output = self.model(
                input_ids=torch.tensor([prefix.said], device=self.model.device),
                past_key_values=prefix.cache,
                use_cache=True,
            )
            prefix.logits = output.logits[0, -1]
            prefix.length += len(prefix.said)
            prefix.said = []
        return prefix.logits

    def rewind(self, prefix: Prefix, length: int, logits: Tensor) -> None:
        """Forget what was said after `length` tokens; `logits` are those that stood there."""
        prefix.cache.crop(length - prefix.length)  # negative: how many tokens to drop
        prefix.length, prefix.logits, prefix.said = length, logits, []

    def answer(
        self,
        prefix: Prefix,
        question: str,
        grammar: AnswerGrammar,
        generator: torch.Generator | None = None,
    ) -> Answer:
        """Ask `question` in the model's own turn and decode the answer under the grammar.

        Greedy, or sampled with `generator`. The answer stays in the prefix. Where the grammar
        leaves one token only, the model is not asked.
        """
        self.say(prefix, self.tokenize(f" {question}"))
        tokens: list[int] = []
        while allowed := grammar.allowed(tokens):
            pick = 0
            if len(allowed) > 1:
                # On the processor, where the generator draws, whatever the model runs on.
                among = torch.log_softmax(self.listen(prefix).cpu()[allowed].float(), -1)
                if generator is None:
                    pick = int(among.argmax())
                else:
                    pick = int(torch.multinomial(among.exp(), 1, generator=generator))
            tokens.append(allowed[pick])
            self.say(prefix, tokens[-1:])
        return Answer(grammar.parse(tokens), tuple(tokens))


def numbers_positions(model: torch.nn.Module) -> bool:
    """Whether the model alone knows the positions of its tokens (M-RoPE: those of images differ).

    Such models want to be told with `mm_token_type_ids` which tokens are of images.
    """
    return any(hasattr(module, "get_rope_index") for module in model.modules())


def _require_rewinding(model: Any) -> None:
    """Refuse a model whose cache forgets, and can not be taken back to the prompt's end."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    layers = {type(layer) for layer in DynamicCache(config=model.config).layers}
    if foreign := sorted(kind.__name__ for kind in layers if kind is not DynamicLayer):
        raise DualsysError(
            f"{type(model).__name__} keeps a cache that can not be rewound ({', '.join(foreign)}), "
            "and every chain of questions starts from the prompt again; use a checkpoint with full "
            "attention in every layer (no sliding window, no recurrent state)"
        )


def describe(spec: WorldSpec, state: np.ndarray, instruction: str) -> str:
    """The text of the user's turn: the instruction and the state in words and numbers."""
    axes = (
        f"{axis.name.replace('_', ' ')} {value:.2f}"
        for axis, value in zip(spec.state, state.tolist(), strict=True)
    )
    return f"{instruction}. {', '.join(axes)}"
