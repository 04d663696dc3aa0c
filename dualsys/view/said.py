"""What is said of a run in words, message by message: for every viewer the same. Pure."""

from __future__ import annotations

from typing import NamedTuple

from dualsys.messages import Command, Guidance, Hello, Message, Outcome, PlanRequest
from dualsys.spec import WorldSpec


class Line(NamedTuple):
    """One thing that was said, `who` by; a `warning` is something that was mended or prevented."""

    who: str
    text: str
    warning: bool = False


class Said:
    """The lines of a run's messages, in the order of its log."""

    def __init__(self, spec: WorldSpec) -> None:
        self._spec, self._rung = spec, ""

    def of(self, message: Message) -> list[Line]:
        """What is said of a message; of most nothing."""
        if isinstance(message, PlanRequest):
            return [Line("trigger", f"asked ({message.budget}): {message.reason}")]
        if isinstance(message, Guidance):
            end = ", final" if message.final else ""
            return [Line("system2", f"{self._spec.plans[message.plan]}{end}: {message.text}")]
        if isinstance(message, Command):
            return self._commanded(message)
        if isinstance(message, Outcome) and (message.terminated or message.truncated):
            how = "success" if message.success else "cut off" if message.truncated else "ended"
            return [Line("world", f"episode {message.stamp.epoch}: {how}")]
        return [Line("world", f"{message.role} is there")] if isinstance(message, Hello) else []

    def _commanded(self, command: Command) -> list[Line]:
        lines = []
        if command.interventions:
            told = f"{command.source}: {', '.join(command.interventions)}"
            lines.append(Line("shield", told, warning=True))
        if command.rung and command.rung != self._rung:
            self._rung = command.rung
            lines.append(Line("ladder", f"rung: {command.rung}"))
        return lines
