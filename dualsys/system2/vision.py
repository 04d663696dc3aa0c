"""The vision-language planner: perceive -> answer -> propose N -> value -> compress, anytime.

A first guidance (the plan alone) comes after one pass over the prompt, the valued candidates
(Hume, arXiv 2505.21432) next, the considered plan last. Each is valid by itself; every thought
starts from its own request, so an interrupted one leaves nothing behind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from dualsys.conformity import check_observation
from dualsys.errors import SpecMismatchError
from dualsys.messages import Guidance, PlanRequest, Thought
from dualsys.spec import WorldSpec
from dualsys.system2.blank import blank_request
from dualsys.system2.checkpoint import Planning
from dualsys.system2.grammar import AnswerGrammar
from dualsys.system2.planner import TORCH, Stop, never
from dualsys.system2.questions import Question, asked, chain
from dualsys.system2.thinking import Interrupted, ThinkConfig, Thinking


class VisionPlanner:
    """System 2 around a loaded checkpoint. `thought` is the one behind the newest guidance."""

    def __init__(
        self,
        spec: WorldSpec,
        planning: Planning,
        config: ThinkConfig,
        engine: Mapping[str, Any] = TORCH,
    ) -> None:
        config.check(planning.card)
        self.engine = engine
        self._spec, self.planning, self._config = spec, planning, config
        tokenize = planning.language.tokenize
        self._grammars = {q.name: AnswerGrammar(q, tokenize) for q in chain(spec)}
        self.thought: Thought | None = None
        # Prompts that the engine could not take are told with the faults: torch reads them.
        compiled = planning.compiled
        self.faults: Counter[str] = Counter() if compiled is None else compiled.declined

    def warm_up(self, budget: str) -> None:
        """Think twice about a black picture: the first passes take many times as long."""
        for number in range(2):
            for _ in self.think(blank_request(self._spec, number), budget):
                pass
        self.thought = None

    def think(self, request: PlanRequest, budget: str, stop: Stop = never) -> Iterator[Guidance]:
        """Yield guidance for `request`, the first after one pass, the last with `final` set.

        Once there is a first one, `stop` is asked before every question.
        """
        self.thought = None
        questions = list(asked(self._spec, budget))
        try:
            check_observation(request.observation, self._spec)
        except SpecMismatchError:
            self.faults["foreign_observation"] += 1  # System 1 refuses it with both sides named
            return
        thinking = Thinking(self._spec, self.planning, self._config, request, stop)
        for stage, final in self._stages(thinking, questions, budget):
            self.thought = thinking.report()
            yield thinking.guidance(stage, final)

    def _stages(
        self, thinking: Thinking, questions: list[Question], budget: str
    ) -> Iterator[tuple[str, bool]]:
        """Each stage leaves `thinking` with a better answer; (its name, whether it is the last)."""
        thinking.answer(questions[-1:], self._grammars)
        thinking.compress()
        yield "plan", budget == "none" and not self._config.candidates
        if self._config.candidates:
            thinking.propose()
            yield "candidates", budget == "none" or thinking.clear
        if budget == "none" or thinking.clear:
            return
        before = thinking.plan
        try:
            thinking.answer(questions, self._grammars)
            if budget == "full":
                thinking.vote(questions, self._grammars)
        except Interrupted:
            return
        thinking.compress()
        if self._config.candidates and thinking.plan != before:
            thinking.propose()
        yield "thought", True
