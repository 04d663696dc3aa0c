"""A vision-language model of anybody's, on this machine, that writes its answers as JSON.

It has no heads of ours: no candidates, no values, no code, the plan alone. It writes under the
schema's grammar, so that every answer can be read, whatever the model would have said.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from dualsys.system2.grammar import AnswerGrammar
from dualsys.system2.language import LanguageModel, Prefix
from dualsys.system2.questions import Question, Slot


class LocalEndpoint:
    """Answers as an OpenAI-compatible endpoint with a JSON schema does, in this process."""

    name, local = "language", True

    def __init__(self, language: LanguageModel) -> None:
        self._language = language
        self._grammars: dict[tuple[str, ...], AnswerGrammar] = {}

    def ask(self, images: Sequence[np.ndarray], text: str, schema: dict[str, Any]) -> str:
        """The answer to `text` about the images: objects of objects, whose ends are enums.

        Raises `DualsysError` for a tokenizer that can not tell two words of an enum apart.
        """
        writer = _Writer(self, self._language.read(images, text))
        return json.dumps(writer.value(schema))

    def choose(self, prefix: Prefix, before: str, words: tuple[str, ...]) -> str:
        """Write `before`, then the likeliest of the words, quoted."""
        if words not in self._grammars:
            slot = Slot("value", words)
            question = Question("value", (), (slot,))
            self._grammars[words] = AnswerGrammar(question, self._language.tokenize, quoted=True)
        return self._language.answer(prefix, before, self._grammars[words]).words["value"]


class _Writer:
    """One answer in the making; what needs no choice is said with the next one."""

    def __init__(self, endpoint: LocalEndpoint, prefix: Prefix) -> None:
        self._endpoint, self._prefix, self._pending = endpoint, prefix, ""

    def value(self, schema: dict[str, Any]) -> Any:
        if "enum" in schema:
            before, self._pending = self._pending, ""
            return self._endpoint.choose(self._prefix, before, tuple(schema["enum"]))
        found = {}
        for number, (name, part) in enumerate(schema["properties"].items()):
            self._pending += f"{', ' if number else '{'}{json.dumps(name)}:"
            found[name] = self.value(part)
        self._pending += "}"
        return found
