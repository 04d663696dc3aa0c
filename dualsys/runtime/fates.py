"""What was thought, why, and what came of it: every guidance of a log with its fate.

Read off the log alone, so it holds for both runtimes and for other people's runs.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from dualsys.messages import (
    Action,
    Command,
    Guidance,
    Message,
    Outcome,
    PlanRequest,
    Thought,
)

FATES = ("used", "harmful", "superseded", "expired")


class Story(msgspec.Struct):
    """One guidance from request to fate. Ticks are control ticks of the episode `epoch`.

    fate: "used", some action took it; "harmful", the action in force when harm began took it;
    "superseded", a newer one came before any action took it; "expired", none came and it was still
    not taken (too old, or the episode was over). `used_ticks` counts the actions that took it.
    """

    epoch: int
    request: PlanRequest | None
    guidance: Guidance
    thought: Thought | None
    fate: str = "expired"
    used_ticks: int = 0
    first_used: int = -1
    last_used: int = -1


class Chronicle:
    """Follows the messages of a log in order and tells the stories of its guidances."""

    def __init__(self) -> None:
        self.stories: list[Story] = []
        self._by_sequence: dict[tuple[int, int], Story] = {}
        self._requests: dict[tuple[int, int], PlanRequest] = {}
        self._thoughts: dict[tuple[int, int, int], Thought] = {}  # by the guidance's stamp
        self._taken: dict[tuple[int, int], Story] = {}  # (epoch, action sequence) -> story
        self._in_force: Story | None = None
        self._harmed: set[int] = set()  # episodes in which harm has begun

    def take(self, message: Message) -> None:
        """Take the next message of the log."""
        stamp = message.stamp
        if isinstance(message, PlanRequest):
            self._requests[stamp.epoch, message.request_id] = message
        elif isinstance(message, Thought):
            self._thoughts[stamp.place] = message  # other people's logs may have it later
        elif isinstance(message, Guidance):
            self._hear(message)
        elif isinstance(message, Action):
            self._act(message)
        elif isinstance(message, Command):
            self._in_force = self._taken.get((stamp.epoch, message.action_sequence))
        elif isinstance(message, Outcome) and harmful(message):
            self._blame(stamp.epoch)

    def close(self) -> None:
        """The log is over: tell which thought was behind each guidance."""
        for story in self.stories:
            story.thought = self._thoughts.get(story.guidance.stamp.place)

    def _blame(self, epoch: int) -> None:
        if epoch not in self._harmed and self._in_force is not None:
            self._in_force.fate = "harmful"
        self._harmed.add(epoch)

    def _hear(self, guidance: Guidance) -> None:
        epoch = guidance.stamp.epoch
        for older in reversed(self.stories):
            if older.epoch != epoch or older.fate != "expired":
                break
            older.fate = "superseded"
        request = self._requests.get((epoch, guidance.request_id))
        story = Story(epoch, request, guidance, None)
        self.stories.append(story)
        self._by_sequence[epoch, guidance.stamp.sequence] = story

    def _act(self, action: Action) -> None:
        epoch, tick = action.stamp.epoch, action.stamp.tick
        story = self._by_sequence.get((epoch, action.guidance_sequence))
        if story is None:
            return
        story.used_ticks += 1
        story.first_used = tick if story.first_used < 0 else story.first_used
        story.last_used = tick
        story.fate = "used"
        self._taken[epoch, action.stamp.sequence] = story


def harmful(outcome: Outcome) -> bool:
    """Whether something went wrong at this tick: a collision, or off the road."""
    return any(outcome.metrics.get(name, 0.0) > 0 for name in ("collision", "offroad"))


def tell(messages: Iterable[Message]) -> list[Story]:
    """The stories of all guidances in `messages`, in the order in which they were given."""
    chronicle = Chronicle()
    for message in messages:
        chronicle.take(message)
    chronicle.close()
    return chronicle.stories
