"""System 2 behind something that answers in JSON: an OpenAI-compatible endpoint, or a local model.

Plans come from there, candidates from local heads. No usable answer in time means no guidance: it
is counted by reason, and System 1 goes on with what it has.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from dualsys.conformity import check_observation
from dualsys.errors import DualsysError, SpecMismatchError
from dualsys.messages import Guidance, PlanRequest, Thought
from dualsys.spec import WorldSpec
from dualsys.system2.blank import blank_request
from dualsys.system2.checkpoint import Planning
from dualsys.system2.endpoint import EndpointError
from dualsys.system2.language import describe
from dualsys.system2.planner import TORCH, Stop, never
from dualsys.system2.prompts import prompted, require_drawable
from dualsys.system2.questions import Answers, Question, asked
from dualsys.system2.thinking import ThinkConfig, Thinking


class Endpoint(Protocol):
    """Answers a question about images with JSON text, or raises `EndpointError`.

    name: for people; local: it runs in this process, and has to be warmed up.
    """

    name: str
    local: bool

    def ask(self, images: Sequence[np.ndarray], text: str, schema: dict[str, Any]) -> str:
        """Return the text of the answer."""
        ...


class RemotePlanner:
    """Asks for the answers of the thinking budget; `faults` counts what gave no guidance.

    With `local`, a planner checkpoint, guidance carries a candidate and the code under the plan
    that was answered; without it, the plan alone.
    """

    def __init__(
        self, spec: WorldSpec, endpoint: Endpoint, local: Planning | None, config: ThinkConfig
    ) -> None:
        config.check(None if local is None else local.card)
        self._spec, self._endpoint, self._local, self._config = spec, endpoint, local, config
        self.thought: Thought | None = None
        self.faults: Counter[str] = Counter()
        self.engine: Mapping[str, Any] = TORCH if local is not None or endpoint.local else {}
        if config.prompts:
            require_drawable(spec)

    def warm_up(self, budget: str) -> None:
        """Ask a local model about a black picture, twice.

        Another machine is warm or cold by itself, and a question there has a price.
        """
        for number in range(2 if self._endpoint.local else 0):
            for _ in self.think(blank_request(self._spec, number), budget):
                pass
        self.thought = None

    def think(self, request: PlanRequest, budget: str, stop: Stop = never) -> Iterator[Guidance]:
        """Yield the one guidance for `request`, or none; the deadline alone ends the question."""
        self.thought = None
        questions = asked(self._spec, budget)
        observation = request.observation
        try:
            check_observation(observation, self._spec)
        except SpecMismatchError:
            self.faults["foreign_observation"] += 1  # System 1 refuses it with both sides named
            return
        samples = request.samples if self._config.prompts else request.samples[:0]
        images = prompted(self._spec, observation, samples)
        text = instruct(questions, describe(self._spec, observation.state, observation.instruction))
        try:
            said = self._endpoint.ask(list(images.values()), text, schema_of(questions))
            answers = read_answers(said, questions)
        except EndpointError as error:
            self.faults[error.reason] += 1
            return
        if self._local is None:
            self.thought = _thought(request, images, answers, len(self._spec.action))
            yield _plan_alone(self._spec, request, answers, self._endpoint.name)
            return
        thinking = Thinking(self._spec, self._local, self._config, request)
        thinking.settle(answers)
        thinking.compress()
        if self._config.candidates:
            thinking.propose()
        self.thought = thinking.report()
        yield thinking.guidance("remote", final=True)


def schema_of(questions: Sequence[Question]) -> dict[str, Any]:
    """The JSON schema of the answers: for each question an object of slot -> one of its words."""
    return _object(
        {
            q.name: _object({s.name: {"type": "string", "enum": list(s.words)} for s in q.slots})
            for q in questions
        }
    )


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def instruct(questions: Sequence[Question], situation: str) -> str:
    """The text of the request: the situation, and every question with the words it may use."""
    lines = [f"Situation: {situation}.", "Answer as JSON, in this order, with these words only:"]
    for question in questions:
        slots = "; ".join(f"{slot.name}: {' | '.join(slot.words)}" for slot in question.slots)
        lines.append(f"{question.name}: {question.phrasings[0]} ({slots})")
    return "\n".join(lines)


def read_answers(text: str, questions: Sequence[Question]) -> Answers:
    """Check an endpoint's answer word by word. Raises `EndpointError` ("malformed")."""
    try:
        given = json.loads(text)
        answers = {}
        for question in questions:
            words = tuple(str(given[question.name][slot.name]) for slot in question.slots)
            answers[question.name] = question.write(words)
            question.parse(answers[question.name])
    except (ValueError, LookupError, TypeError, RecursionError, DualsysError) as error:
        raise EndpointError("malformed", f"{text[:200]!r}: {error}") from error
    return answers


def _plan_alone(spec: WorldSpec, request: PlanRequest, answers: Answers, whose: str) -> Guidance:
    plan = spec.plans.index(answers["plan"].removesuffix("."))
    told = f"{whose}: " + " ".join(f"{name}: {answer}" for name, answer in answers.items())
    return Guidance.of_plan(request.stamp, request.request_id, plan, len(spec.action), told)


def _thought(
    request: PlanRequest, images: dict[str, np.ndarray], answers: Answers, axes: int
) -> Thought:
    none = np.zeros((0, 0, axes), np.float32)
    values = np.zeros(0, np.float32)
    return Thought(request.stamp, request.request_id, images, dict(answers), none, values, -1, {})
