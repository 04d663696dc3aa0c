"""What a viewer shows of each message: Rerun's archetypes, by the blueprint's paths. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np
import rerun as rr

from dualsys.messages import (
    Ack,
    Action,
    Admission,
    Command,
    Guidance,
    Health,
    Hello,
    Introduction,
    Label,
    Message,
    Observation,
    Outcome,
    PlanRequest,
    Thought,
)
from dualsys.spec import WorldSpec
from dualsys.system2.prompts import paths, project
from dualsys.view.said import Said

Entry = tuple[str, Any]  # entity path, Rerun archetype

FRAMES_HZ = 20.0  # of pictures: nobody sees more, and a viewer that lags shows nothing new
CHUNK, SAMPLE, CANDIDATE, CHOSEN = (90, 220, 90), (250, 220, 60), (120, 160, 255), (255, 90, 90)


class Picture:
    """One run's messages, in the order of its log, as what is to be shown."""

    def __init__(self, spec: WorldSpec) -> None:
        self._spec, self._said = spec, Said(spec)
        self._state: np.ndarray | None = None  # of the newest observation
        self._shown_ns: int | None = None  # when pictures were shown last
        self._last: dict[str, str] = {}  # what is told only when it changes
        self._show: dict[type[Any], Callable[[Any], Iterator[Entry]]] = {
            Observation: self._observation,
            Action: self._action,
            PlanRequest: self._request,
            Thought: self._thought,
            Guidance: self._guidance,
            Command: self._command,
            Outcome: self._outcome,
            Health: self._health,
            Label: self._label,
            Hello: lambda hello: iter(()),  # is said in words
            # Never logged: of the link alone.
            **dict.fromkeys((Ack, Introduction, Admission), lambda message: iter(())),
        }

    def of(self, message: Message) -> list[Entry]:
        """Everything to be shown of a message."""
        entries = list(self._show[type(message)](message))
        for line in self._said.of(message):
            level = rr.TextLogLevel.WARN if line.warning else rr.TextLogLevel.INFO
            entries.append((f"log/{line.who}", rr.TextLog(line.text, level=level)))
        return entries

    def _observation(self, seen: Observation) -> Iterator[Entry]:
        self._state = seen.state
        for axis, value in zip(self._spec.state, seen.state.tolist(), strict=True):
            yield f"plant/state/{axis.name}", rr.Scalars(value)
        yield from self._changed("plant/instruction", seen.instruction, rr.TextDocument)
        now = seen.stamp.time_ns
        if self._shown_ns is not None and 0 <= now - self._shown_ns < 1e9 / FRAMES_HZ:
            return
        self._shown_ns = now
        for name, image in seen.images.items():
            yield f"cameras/{name}", rr.Image(image[..., :3])

    def _action(self, action: Action) -> Iterator[Entry]:
        period_s = self._spec.period_ns / 1e9
        yield "system1/uncertainty", rr.Scalars(action.uncertainty)
        if np.isfinite(action.spread):
            yield "system1/spread", rr.Scalars(action.spread)
        yield "latency/system1_ms", rr.Scalars(action.compute_ns / 1e6)
        if action.guidance_age_ticks >= 0:
            yield "guidance/age_s", rr.Scalars(action.guidance_age_ticks * period_s)
        yield from self._lines("chunk", action.commands[None], [CHUNK])

    def _request(self, request: PlanRequest) -> Iterator[Entry]:
        yield "system1/asked", rr.Scalars(request.uncertainty)
        yield from self._lines("samples", request.samples, [SAMPLE])

    def _thought(self, thought: Thought) -> Iterator[Entry]:
        for name, image in thought.images.items():
            yield f"thought/seen/{name}", rr.Image(image[..., :3])
        rows = [f"| {question} | {answer} |" for question, answer in thought.answers.items()]
        rows += [f"| votes for {plan} | {votes} |" for plan, votes in thought.votes.items()]
        page = "\n".join(["| question | answer |", "|---|---|", *rows])
        if rows:
            yield "thought/answers", rr.TextDocument(page, media_type=rr.MediaType.MARKDOWN)
        if thought.values.size:
            yield "thought/values", rr.BarChart(thought.values)
        colours = [CANDIDATE] * len(thought.candidates)
        if 0 <= thought.chosen < len(colours):
            colours[thought.chosen] = CHOSEN
        yield from self._lines("candidates", thought.candidates, colours)

    def _guidance(self, guidance: Guidance) -> Iterator[Entry]:
        plan = self._spec.plans[guidance.plan]
        yield from self._changed("guidance/plan", plan, rr.TextDocument)
        yield "latency/system2_ms", rr.Scalars(guidance.thinking_ns / 1e6)
        if np.isfinite(guidance.value):
            yield "guidance/value", rr.Scalars(guidance.value)

    def _command(self, command: Command) -> Iterator[Entry]:
        named = list(zip(self._spec.action, command.command.tolist(), strict=True))
        for axis, value in named:
            yield f"command/{axis.name}/sent", rr.Scalars(value)
        if len(command.wanted) == len(named):
            for (axis, _), value in zip(named, command.wanted.tolist(), strict=True):
                yield f"command/{axis.name}/wanted", rr.Scalars(value)
        if command.observation_age_ns >= 0:
            age_ms = command.observation_age_ns / 1e6
            yield "latency/observation_to_command_ms", rr.Scalars(age_ms)

    def _outcome(self, outcome: Outcome) -> Iterator[Entry]:
        yield "plant/reward", rr.Scalars(outcome.reward)
        for name, value in outcome.metrics.items():
            yield f"plant/metrics/{name}", rr.Scalars(value)

    def _health(self, health: Health) -> Iterator[Entry]:
        for name, count in health.counters.items():
            yield f"drops/{health.process}/{name}", rr.Scalars(count)
        for stage, times in health.timing_ns.items():
            if times:
                yield f"health/{health.process}/{stage}_ms", rr.Scalars(median(times) / 1e6)

    def _label(self, label: Label) -> Iterator[Entry]:
        for axis, value in zip(self._spec.action, label.command.tolist(), strict=True):
            yield f"command/{axis.name}/expert", rr.Scalars(value)

    def _changed(self, path: str, text: str, shown: Callable[[str], Any]) -> Iterator[Entry]:
        if self._last.get(path) != text:
            self._last[path] = text
            yield path, shown(text)

    def _lines(
        self, what: str, chunks: np.ndarray, colours: list[tuple[int, int, int]]
    ) -> Iterator[Entry]:
        """Chunks (K, T, A) as lines over every camera whose projection is known."""
        if self._state is None or not chunks.size or not self._spec.motion:
            return
        led = paths(self._spec, self._state, chunks)
        for camera in self._spec.cameras:
            if len(camera.projection) == 12:
                strips = [line[np.isfinite(line).all(1)] for line in project(camera, led)]
                yield f"cameras/{camera.name}/{what}", rr.LineStrips2D(strips, colors=colours)
