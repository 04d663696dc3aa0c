from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dualsys.errors import DualsysError
from dualsys.system2.grammar import AnswerGrammar
from dualsys.system2.language import LanguageModel, describe
from dualsys.system2.questions import chain
from sim.driving.spec import SPEC

IMAGE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
TEXT = describe(SPEC, np.arange(8, dtype=np.float32), "drive on")


def test_the_text_holds_instruction_and_state() -> None:
    assert TEXT.startswith("drive on. speed 0.00, acceleration 1.00")
    assert "lane offset 3.00" in TEXT


def test_transformers_opens_the_checkpoint_without_our_code(language_folder: Path) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(language_folder)
    model = AutoModelForImageTextToText.from_pretrained(language_folder)
    talk = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "go on"}]}]
    prompt = processor.apply_chat_template(talk, add_generation_prompt=True)
    batch = processor(text=prompt, images=[IMAGE], return_tensors="pt")
    said = model.generate(**batch, max_new_tokens=3, do_sample=False)
    assert said.shape[1] == batch["input_ids"].shape[1] + 3


def test_words_and_numbers_survive_the_tokenizer(language: LanguageModel) -> None:
    for text in (TEXT, " free, none, near, none.", "peg-insert-side 0.98"):
        assert language.processor.tokenizer.decode(language.tokenize(text)) == text


def test_every_answer_parses_greedy_and_sampled(language: LanguageModel) -> None:
    generator = torch.Generator().manual_seed(0)
    for draw in (None, generator):
        prefix = language.read([IMAGE], TEXT)
        for question in chain(SPEC):
            grammar = AnswerGrammar(question, language.tokenize)
            answer = language.answer(prefix, question.phrasings[0], grammar, draw)
            assert set(answer.words) == {slot.name for slot in question.slots}


def test_a_rewound_thought_leaves_nothing(language: LanguageModel) -> None:
    fresh, used = language.read([IMAGE], TEXT), language.read([IMAGE], TEXT)
    length, logits = used.length, used.logits
    language.say(used, language.tokenize(" something else entirely"))
    language.listen(used)
    language.say(used, language.tokenize(" and not even read"))
    language.rewind(used, length, logits)
    for prefix in (fresh, used):
        language.say(prefix, language.tokenize(" Choose the plan."))
    torch.testing.assert_close(language.listen(fresh), language.listen(used))


def test_an_answer_is_what_asking_token_by_token_gives(language: LanguageModel) -> None:
    for question in chain(SPEC):
        grammar = AnswerGrammar(question, language.tokenize)
        prefix, other = language.read([IMAGE], TEXT), language.read([IMAGE], TEXT)
        answer = language.answer(prefix, question.phrasings[0], grammar)
        language.say(other, language.tokenize(f" {question.phrasings[0]}"))
        tokens: list[int] = []
        while allowed := grammar.allowed(tokens):
            among = torch.log_softmax(language.listen(other)[allowed].float(), -1)
            tokens.append(allowed[int(among.argmax())])
            language.say(other, tokens[-1:])
        assert answer.tokens == tuple(tokens)
        torch.testing.assert_close(
            language.listen(prefix), language.listen(other), atol=1e-4, rtol=1e-4
        )


def test_the_picture_matters(language: LanguageModel) -> None:
    one, two = (language.read([image], TEXT).hidden for image in (IMAGE, 255 - IMAGE))
    assert (one - two).abs().max() > 1e-4


def test_a_folder_without_a_checkpoint_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DualsysError, match="dualsys train system2"):
        LanguageModel.load(tmp_path)


def test_a_broken_checkpoint_is_one_clear_error(language_folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(language_folder, broken)
    (broken / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(DualsysError, match="no image-text checkpoint"):
        LanguageModel.load(broken)


def test_a_tokenizer_without_image_tokens_is_refused_when_it_is_opened(
    language_folder: Path, tmp_path: Path
) -> None:
    foreign = shutil.copytree(language_folder, tmp_path / "foreign")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (foreign / name).read_text()
        assert "<image>" in text
        (foreign / name).write_text(text.replace("<image>", "<picture>"))
    with pytest.raises(DualsysError, match=r"image token is \d+, the tokenizer's \d+"):
        LanguageModel.load(foreign)


def test_a_processor_that_writes_no_image_tokens_is_found_out(
    language: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language, "_image_token", 10_000_000)
    with pytest.raises(DualsysError, match="do not belong together"):
        language.inputs([[IMAGE]], [TEXT])


def test_a_padded_batch_is_read_like_its_parts(language: LanguageModel) -> None:
    texts = [TEXT, "go"]
    batch = language.inputs([[IMAGE], [IMAGE]], texts)
    places = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    with torch.inference_mode():
        both = language.model(**batch, position_ids=places).logits[:, -1]
    for row, text in enumerate(texts):
        alone = language.read([IMAGE], text).logits
        torch.testing.assert_close(both[row], alone, atol=1e-4, rtol=1e-4)
