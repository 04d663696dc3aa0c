"""Makes a small vision-language checkpoint of this project's own, from a configuration alone.

An Idefics3-family model (SmolVLM's), a byte-level BPE tokenizer trained on the planner's own
sentences, the PIL image processor and a chat template: `AutoModelForImageTextToText` and
`AutoProcessor` open the folder without any code of ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dualsys.system2.sizes import ModelSizes

IMAGE_TOKENS = ("<fake_token_around_image>", "<image>", "<global-img>")
END_OF_TURN = "<end_of_utterance>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: "
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}" + END_OF_TURN + "\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def build(folder: Path, sizes: ModelSizes, sentences: Iterable[str], seed: int = 0) -> None:
    """Write an untrained checkpoint with its processor to `folder`."""
    import torch
    from transformers import Idefics3ForConditionalGeneration

    processor = _processor(sizes, sentences)
    torch.manual_seed(seed)
    model = Idefics3ForConditionalGeneration(_config(sizes, processor.tokenizer))
    folder.mkdir(parents=True, exist_ok=True)
    processor.save_pretrained(folder)
    model.save_pretrained(folder)


def _processor(sizes: ModelSizes, sentences: Iterable[str]) -> Any:
    from transformers import Idefics3ImageProcessorPil, Idefics3Processor

    edge = {"longest_edge": sizes.image_px}
    images = Idefics3ImageProcessorPil(size=edge, max_image_size=edge, do_image_splitting=False)
    return Idefics3Processor(
        images,
        _tokenizer(sizes, sentences),
        image_seq_len=sizes.tokens_per_image,
        chat_template=CHAT_TEMPLATE,
    )


def _tokenizer(sizes: ModelSizes, sentences: Iterable[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    # The processor asks for the tokens of split images, also when nothing is split.
    cells = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    special = ["<pad>", "<s>", "</s>", *IMAGE_TOKENS, END_OF_TURN, *cells]
    tokenizer = Tokenizer(models.BPE())
    # Digits apart: a number is read digit by digit, and no number is missing in the vocabulary.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=sizes.vocabulary,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=special[3:],
        padding_side="left",
    )


def _config(sizes: ModelSizes, tokenizer: Any) -> Any:
    from transformers import Idefics3Config

    return Idefics3Config(
        vision_config={
            "hidden_size": sizes.vision_width,
            "intermediate_size": 3 * sizes.vision_width,
            "num_hidden_layers": sizes.vision_layers,
            "num_attention_heads": sizes.vision_heads,
            "image_size": sizes.image_px,
            "patch_size": sizes.patch_px,
        },
        text_config={
            "model_type": "llama",
            "hidden_size": sizes.text_width,
            "intermediate_size": 3 * sizes.text_width,
            "num_hidden_layers": sizes.text_layers,
            "num_attention_heads": sizes.text_heads,
            "num_key_value_heads": sizes.key_value_heads,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": sizes.positions,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "tie_word_embeddings": True,
        },
        scale_factor=sizes.shuffle,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
