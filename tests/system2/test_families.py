"""What System 2 asks of a language model, asked of several families that transformers knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dualsys.errors import DualsysError
from dualsys.learning.train_system2 import run_over
from dualsys.system2.grammar import AnswerGrammar
from dualsys.system2.language import LanguageModel, numbers_positions
from dualsys.system2.questions import chain
from sim.driving.spec import SPEC
from tests.families import llava, qwen

# Wider than high: to a model that counts rows and columns a square would be too easy.
IMAGES = list(np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3), np.uint8))
TEXT = "drive on. speed 3.14"
MORE = " Which object is a hazard? none, none."
FAMILIES: dict[str, Callable[[Path], LanguageModel]] = {
    "idefics3": LanguageModel.load,
    "qwen2_5_vl": lambda folder: qwen(),
    "llava": lambda folder: llava(),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, language_folder: Path) -> LanguageModel:
    return FAMILIES[request.param](language_folder)


def whole(language: LanguageModel, images: Any, more: list[int]) -> torch.Tensor:
    """Logits after a prompt and what is said, in one pass without a cache."""
    batch = language.inputs([images], [TEXT])
    said = torch.tensor([more])
    for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
        if name in batch:
            tail = {"input_ids": said, "attention_mask": torch.ones_like(said)}
            batch[name] = torch.cat([batch[name], tail.get(name, torch.zeros_like(said))], 1)
    with torch.inference_mode():
        logits: torch.Tensor = language.model(**batch).logits[0, -1]
    return logits


def test_going_on_from_the_cache_is_reading_the_whole(family: LanguageModel) -> None:
    more = family.tokenize(MORE)
    expected = whole(family, IMAGES[:2], more)
    prefix = family.read(IMAGES[:2], TEXT)
    family.say(prefix, more[:3])
    family.listen(prefix)
    family.say(prefix, more[3:])
    torch.testing.assert_close(family.listen(prefix), expected, atol=1e-5, rtol=1e-4)


def test_a_rewound_thought_leaves_nothing(family: LanguageModel) -> None:
    more = family.tokenize(MORE)
    expected = whole(family, IMAGES[:1], more)
    prefix = family.read(IMAGES[:1], TEXT)
    length, logits = prefix.length, prefix.logits
    for question in chain(SPEC):
        grammar = AnswerGrammar(question, family.tokenize)
        family.answer(prefix, question.phrasings[0], grammar)
    family.rewind(prefix, length, logits)
    family.say(prefix, more)
    torch.testing.assert_close(family.listen(prefix), expected, atol=1e-5, rtol=1e-4)


def test_training_reads_a_prompt_as_a_run_does(family: LanguageModel) -> None:
    texts = [TEXT, "go"]  # the second is padded
    more = family.tokenize(MORE)
    batch = family.inputs([[IMAGES[0]], [IMAGES[1]]], texts)
    said = torch.tensor([more, more])
    with torch.no_grad():
        hidden, mask, logits = run_over(family.model, batch, said, torch.ones_like(said), 1)
    for row, text in enumerate(texts):
        prefix = family.read([IMAGES[row]], text)
        torch.testing.assert_close(hidden[row][mask[row]], prefix.hidden[0], atol=1e-5, rtol=1e-4)
        family.say(prefix, more)
        torch.testing.assert_close(logits[row, -1], family.listen(prefix), atol=1e-5, rtol=1e-4)


def test_running_numbers_are_another_thing_to_a_model_that_counts_rows_and_columns() -> None:
    """Else the tests above could not tell the one from the other."""
    family = qwen()
    assert numbers_positions(family.model)
    assert not numbers_positions(llava().model)
    batch = family.inputs([[IMAGES[0]]], [TEXT])
    running = torch.arange(batch["input_ids"].shape[1])[None]
    with torch.inference_mode():
        own = family.model(**batch).logits
        other = family.model(**batch, position_ids=running).logits
    assert (own - other).abs().max() > 1e-4


def test_a_cache_that_forgets_is_refused() -> None:
    with pytest.raises(DualsysError, match=r"can not be rewound \(DynamicSlidingWindowLayer\)"):
        qwen(use_sliding_window=True, sliding_window=8, max_window_layers=0)


def test_a_processor_that_can_not_hold_a_conversation_is_refused() -> None:
    language = llava()
    language.processor.chat_template = None
    with pytest.raises(DualsysError, match="has no chat template"):
        LanguageModel(language.model, language.processor)


def test_a_package_that_is_missing_is_named(
    language_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise ImportError("\nThis processor requires the Torchvision library")

    monkeypatch.setattr("transformers.AutoProcessor.from_pretrained", missing)
    with pytest.raises(DualsysError, match="not installed: This processor requires the Torchv"):
        LanguageModel.load(language_folder)
