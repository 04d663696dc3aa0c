"""Decoding under a grammar: which tokens may come next, so that an answer always parses.

An answer is one word per slot, each ended by a comma, the last by a full stop, so that no word is
the beginning of another ("push," and "push-wall,"). Words may be several tokens, so each slot is a
trie over token sequences. Pure: token numbers in, token numbers out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dualsys.errors import DualsysError
from dualsys.system2.questions import Question, Slot

Tokenize = Callable[[str], list[int]]


class _Node:
    """A place in a slot's trie; `word` is set where a word is complete."""

    def __init__(self) -> None:
        self.children: dict[int, _Node] = {}
        self.word: str | None = None


class AnswerGrammar:
    """The language of the answers to one question, over the tokens of one tokenizer.

    `tokenize` turns " word," (with the blank that stands before it in running text) into tokens;
    `quoted`, ' "word"', as in JSON.
    Raises `DualsysError` for a tokenizer that gives two words of a slot the same beginning and
    end, so that they could not be told apart.
    """

    def __init__(self, question: Question, tokenize: Tokenize, quoted: bool = False) -> None:
        self._question = question
        last = len(question.slots) - 1
        self._slots = [
            _trie(slot, tokenize, ' "{}"' if quoted else " {}." if index == last else " {},")
            for index, slot in enumerate(question.slots)
        ]

    def allowed(self, tokens: Sequence[int]) -> list[int]:
        """Tokens that may follow `tokens`, the part of the answer that stands; [] at its end.

        Raises `DualsysError` when `tokens` is no beginning of an answer.
        """
        slot, node, _ = self._walk(tokens)
        if slot == len(self._slots):
            return []
        return sorted(node.children)

    def parse(self, tokens: Sequence[int]) -> dict[str, str]:
        """Slot -> word of a complete answer. Raises `DualsysError` for anything else."""
        slot, _, words = self._walk(tokens)
        if slot != len(self._slots):
            raise DualsysError(
                f"the answer to {self._question.name!r} ends after {slot} of {len(self._slots)} "
                "words; decode it to its end"
            )
        return {s.name: word for s, word in zip(self._question.slots, words, strict=True)}

    def _walk(self, tokens: Sequence[int]) -> tuple[int, _Node, list[str]]:
        slot, node, words = 0, self._slots[0], []
        for position, token in enumerate(tokens):
            if slot == len(self._slots) or token not in node.children:
                raise DualsysError(
                    f"token {token} at {position} is in no answer to {self._question.name!r}"
                )
            node = node.children[token]
            if node.word is not None:
                words.append(node.word)
                slot += 1
                node = self._slots[slot] if slot < len(self._slots) else node
        return slot, node, words


def _trie(slot: Slot, tokenize: Tokenize, form: str) -> _Node:
    root = _Node()
    for word in slot.words:
        node = root
        for token in tokenize(form.format(word)):
            if node.word is not None:
                raise _ambiguous(slot, word, node.word)
            node = node.children.setdefault(token, _Node())
        if node is root or node.children or node.word is not None:
            raise _ambiguous(slot, word, node.word)
        node.word = word
    return root


def _ambiguous(slot: Slot, word: str, other: str | None) -> DualsysError:
    return DualsysError(
        f"this tokenizer can not tell the word {word!r} of slot {slot.name!r} from "
        f"{other or 'others'!r}; use a tokenizer that writes every letter (byte-level BPE does)"
    )
