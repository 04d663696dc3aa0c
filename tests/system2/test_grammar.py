from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.errors import DualsysError
from dualsys.system2.grammar import AnswerGrammar
from dualsys.system2.questions import Question, Slot, chain
from sim.driving.spec import SPEC

TASKS = Question(
    "plan", ("?",), (Slot("plan", ("push", "push-wall", "pick")), Slot("side", ("left",)))
)


def letters(text: str) -> list[int]:
    """The poorest tokenizer: every letter is a token."""
    return [ord(letter) for letter in text]


def pairs(text: str) -> list[int]:
    """One that joins two letters, across the comma too."""
    return [hash(text[i : i + 2]) for i in range(0, len(text), 2)]


@given(st.data())
def test_whatever_is_drawn_from_the_allowed_tokens_parses(data: st.DataObject) -> None:
    question = data.draw(st.sampled_from([*chain(SPEC), TASKS]))
    grammar = AnswerGrammar(question, data.draw(st.sampled_from([letters, pairs])))
    tokens: list[int] = []
    while allowed := grammar.allowed(tokens):
        tokens.append(data.draw(st.sampled_from(allowed)))
    words = grammar.parse(tokens)
    assert question.parse(question.write(tuple(words.values()))) == words


def test_a_word_that_begins_another_can_be_told_apart() -> None:
    grammar = AnswerGrammar(TASKS, letters)
    for word in ("push", "push-wall"):
        assert grammar.parse(letters(f" {word}, left.")) == {"plan": word, "side": "left"}


def test_half_an_answer_and_a_foreign_token_are_refused() -> None:
    grammar = AnswerGrammar(TASKS, letters)
    with pytest.raises(DualsysError, match="ends after 1 of 2"):
        grammar.parse(letters(" push,"))
    with pytest.raises(DualsysError, match="in no answer to 'plan'"):
        grammar.allowed(letters(" pull"))


def test_a_tokenizer_that_drops_letters_is_refused() -> None:
    with pytest.raises(DualsysError, match="byte-level"):
        AnswerGrammar(TASKS, lambda text: letters(text)[:3])
