"""System 2 whose candidates come from a policy server of another stack: openpi's or GR00T's.

With a planner of ours beside it (`system2.checkpoint`) that one names the plan, values the server's
chunks and chooses; without, the task's own plan is sent and the first chunk.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy as np

from dualsys.conformity import check_observation
from dualsys.environment import secret
from dualsys.errors import SpecMismatchError
from dualsys.interop.groot_client import GrootWire
from dualsys.interop.naming import Naming, PeerNames
from dualsys.interop.openpi_client import OpenpiWire
from dualsys.interop.peer import Peer, PeerConfig, Wire
from dualsys.messages import Guidance, PlanRequest, Thought
from dualsys.spec import WorldSpec
from dualsys.system2.blank import blank_request
from dualsys.system2.checkpoint import Planning
from dualsys.system2.endpoint import EndpointError
from dualsys.system2.grammar import AnswerGrammar
from dualsys.system2.planner import TORCH, Stop, never
from dualsys.system2.questions import asked, chain
from dualsys.system2.scripted import Rule
from dualsys.system2.thinking import ThinkConfig, Thinking


class PeerPlanner:
    """The plan at once, the server's chunk after it; `faults` counts, by reason, what gave none."""

    def __init__(
        self,
        spec: WorldSpec,
        peer: Peer,
        name: str,
        judge: Planning | Rule,
        config: ThinkConfig,
    ) -> None:
        self._spec, self._peer, self._name = spec, peer, name
        self._judge, self._config = judge, config
        self.thought: Thought | None = None
        self.faults: Counter[str] = Counter()
        self.engine: Mapping[str, Any] = {}
        self._grammars: dict[str, AnswerGrammar] = {}
        if isinstance(judge, Planning):
            config.check(judge.card)
            self.engine = TORCH
            tokenize = judge.language.tokenize
            self._grammars = {q.name: AnswerGrammar(q, tokenize) for q in chain(spec)}

    def warm_up(self, budget: str) -> None:
        """Our own part of it: a question to another server has a price, and leaves traces there."""
        if isinstance(self._judge, Planning):
            for number in range(2):
                self._judged(blank_request(self._spec, number), budget, self._judge)

    def think(self, request: PlanRequest, budget: str, stop: Stop = never) -> Iterator[Guidance]:
        """Yield the plan, then the plan with the server's chunk, if one comes in time."""
        self.thought = None
        try:
            check_observation(request.observation, self._spec)
        except SpecMismatchError:
            self.faults["foreign_observation"] += 1  # System 1 refuses it with both sides named
            return
        judge, wanted = self._judge, self._config.candidates
        thinking = self._judged(request, budget, judge) if isinstance(judge, Planning) else None
        plan = self._ruled(request) if thinking is None else thinking.guidance("plan", not wanted)
        self.thought = None if thinking is None else thinking.report()
        yield msgspec.structs.replace(plan, final=not wanted)
        if not wanted or stop():
            return
        try:
            chunks = self._peer.chunks(request.observation, wanted if thinking is not None else 1)
        except EndpointError as error:
            self.faults[error.reason] += 1
            yield msgspec.structs.replace(plan, final=True)
            return
        if thinking is not None:
            thinking.weigh(chunks)
            self.thought = thinking.report()
            yield thinking.guidance(self._name, final=True)
            return
        self.thought = _thought(request, chunks)
        yield msgspec.structs.replace(plan, candidate=chunks[0], final=True)

    def _judged(self, request: PlanRequest, budget: str, planning: Planning) -> Thinking:
        thinking = Thinking(self._spec, planning, self._config, request)
        thinking.answer(list(asked(self._spec, budget)), self._grammars)
        thinking.compress()
        return thinking

    def _ruled(self, request: PlanRequest) -> Guidance:
        assert not isinstance(self._judge, Planning)
        plan, reason = self._judge.choose(request)
        number, axes = self._spec.plans.index(plan), len(self._spec.action)
        told = f"{plan}: {reason}; chunk: {self._name}"
        return Guidance.of_plan(request.stamp, request.request_id, number, axes, told)


def peer_of(system2: dict[str, Any], spec: WorldSpec) -> Peer:
    """The server of a configuration. Raises `DualsysError` for names or an address that is none."""
    naming = Naming.of(spec, system2["name"], PeerNames.of(system2["peer"]), whole_state=False)
    key, url = secret(system2["key_variable"]), system2["url"]
    wire: Wire
    if system2["name"] == "openpi":
        wire = OpenpiWire(url, key)
    else:
        wire = GrootWire(url, system2["peer"]["version"], naming, key)
    return Peer(spec, naming, wire, PeerConfig(url, system2["deadline_s"]))


def _thought(request: PlanRequest, chunks: np.ndarray) -> Thought:
    values = np.full(len(chunks), math.nan, np.float32)
    images = request.observation.images
    return Thought(request.stamp, request.request_id, dict(images), {}, chunks, values, 0, {})
