"""Faults of what the two systems say: changed, lost or held back on the way out."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec
import numpy as np

from dualsys.faults.fault import LATE_S, Fault, Timetable
from dualsys.messages import Action, Guidance
from dualsys.spec import WorldSpec

Answer = Action | Guidance


class AnswerFaults:
    """Stands between a system and its link. `off` and `stuck` are done to the process instead."""

    def __init__(self, faults: Sequence[Fault], place: str, spec: WorldSpec) -> None:
        """`place` is system1 or system2."""
        self._table, self._spec = Timetable(faults, place), spec
        self._held: deque[tuple[float, Answer]] = deque()

    def pause_s(self, since_s: float | None) -> float:
        """For how long the system does nothing before it answers."""
        return LATE_S if self._table.kind(since_s) == "slow" else 0.0

    def said(self, answer: Answer, since_s: float | None) -> list[Answer]:
        """What is really sent when the system says `answer`; also what is due by now."""
        kind = self._table.kind(since_s)
        if kind in (None, "slow", "off", "stuck"):
            return [*self.due(since_s), answer]
        if self._table.gone(since_s):
            return self.due(since_s)
        if kind == "delayed":
            assert since_s is not None
            self._held.append((since_s + LATE_S, answer))
            return self.due(since_s)
        if kind == "intermittent":
            return [answer]
        rng = self._table.rng(since_s)
        return [self._changed(answer, rng, garbage=kind == "garbage")]

    def due(self, since_s: float | None) -> list[Answer]:
        """What was held back and is due."""
        ready: list[Answer] = []
        while self._held and since_s is not None and self._held[0][0] <= since_s:
            ready.append(self._held.popleft()[1])
        return ready

    def _changed(self, answer: Answer, rng: np.random.Generator, garbage: bool) -> Answer:
        spec = self._spec
        if isinstance(answer, Action):
            shape = answer.commands.shape
            if garbage:
                broken = np.full(shape if rng.random() < 0.5 else (3, 7), np.nan, np.float32)
                return msgspec.structs.replace(answer, commands=broken)
            span = spec.action_high - spec.action_low
            wild = spec.action_low + span * rng.uniform(-1, 2, shape)
            return msgspec.structs.replace(answer, commands=wild.astype(np.float32))
        if garbage:
            nothing = np.full((2, len(spec.action)), np.nan, np.float32)
            return msgspec.structs.replace(answer, candidate=nothing)
        plan = int(rng.integers(len(spec.plans)))
        code = rng.uniform(-1, 1, answer.z.shape).astype(np.float32)
        none = np.zeros((0, len(spec.action)), np.float32)
        return msgspec.structs.replace(answer, plan=plan, z=code, candidate=none)
