"""What was asked and thought, and what came of it: every request of a log with its fate.

Read off the log alone, in whatever order it stands, so it holds for both runtimes and for other
people's runs. What each fate means is told in docs/planner.md, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

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
from dualsys.trigger.acceptance import Acceptance

Fate = Literal["used", "harmful", "refused", "superseded", "expired", "unanswered"]

Place = tuple[int, int, int]  # session, epoch, and a number within


class Story(msgspec.Struct):
    """One guidance from request to fate, or a request that no guidance came to.

    fate, of a guidance: "used", some action took it; "harmful", the action in force when harm began
    took it; "refused", System 1 had it and its limits forbade it (`reason`: late or low_value);
    "superseded", a newer one came before any action took it; "expired", none came and it was still
    not taken (too old, not fit for use, or the episode was over).
    fate, of a request: "superseded", System 2 was at an older one until a newer was asked;
    "unanswered", else. `used_ticks` counts the actions that took the guidance; ticks are control
    ticks of the episode.
    """

    request: PlanRequest | None
    guidance: Guidance | None
    thought: Thought | None
    fate: Fate
    reason: str = ""
    used_ticks: int = 0
    first_used: int = -1
    last_used: int = -1

    @property
    def tick(self) -> int:
        """The tick of the observation that it is about."""
        if self.guidance is not None:
            return self.guidance.stamp.tick
        assert self.request is not None
        return self.request.observation.stamp.tick


class Used(msgspec.Struct, frozen=True):
    """What of an action is needed here: its commands would fill the memory."""

    tick: int
    observation_ns: int
    guidance: int  # its sequence; -1: none


class Chronicle:
    """Takes the messages of a log, in any order, and tells the stories of its requests."""

    def __init__(self, limits: Acceptance) -> None:
        """`limits` are those under which the run used guidance (`assembly.make_acceptance`)."""
        self._limits = limits
        self._requests: dict[Place, PlanRequest] = {}  # by request
        self._thoughts: dict[Place, Thought] = {}  # by the stamp of their guidance
        self._guidance: dict[Place, Guidance] = {}
        self._actions: dict[Place, Used] = {}
        self._commanded: dict[Place, int] = {}  # (.., tick) -> sequence of the action in force
        self._harmed: dict[tuple[int, int], int] = {}  # episode -> tick at which harm began

    def take(self, message: Message) -> None:
        """Take a message of the log."""
        stamp = message.stamp
        episode = stamp.session, stamp.epoch
        if isinstance(message, PlanRequest):
            self._requests[(*episode, message.request_id)] = message
        elif isinstance(message, Thought):
            self._thoughts[stamp.place] = message
        elif isinstance(message, Guidance):
            self._guidance[stamp.place] = message
        elif isinstance(message, Action):
            used = Used(stamp.tick, message.observation_ns, message.guidance_sequence)
            self._actions[stamp.place] = used
        elif isinstance(message, Command):
            self._commanded[(*episode, stamp.tick)] = message.action_sequence
        elif isinstance(message, Outcome) and harmful(message):
            self._harmed[episode] = min(stamp.tick, self._harmed.get(episode, stamp.tick))

    def stories(self) -> list[Story]:
        """The stories in the order of asking: of every guidance, and of requests without any."""
        answers: dict[Place, list[Guidance]] = {place: [] for place in self._requests}
        for place, guidance in sorted(self._guidance.items(), key=lambda item: item[0]):
            answers.setdefault((*place[:2], guidance.request_id), []).append(guidance)
        blamed = self._behind_harm()
        found: list[Story] = []
        for place in sorted(answers):
            request = self._requests.get(place)
            if not answers[place]:
                found.append(Story(request, None, None, self._unheard(place, answers)))
            for guidance in answers[place]:
                thought = self._thoughts.get(guidance.stamp.place)
                story = Story(request, guidance, thought, "expired")
                self._follow(story, guidance)
                if guidance.stamp.place in blamed:
                    story.fate = "harmful"
                found.append(story)
        return found

    def _unheard(self, asked: Place, answers: dict[Place, list[Guidance]]) -> Fate:
        """Why a request has no guidance, as far as the log can tell: to a tick."""
        mine = [place for place in answers if place[:2] == asked[:2]]
        newer = [self._requests[p].stamp.time_ns for p in mine if p > asked and p in self._requests]
        older = [guidance.stamp.time_ns for p in mine if p < asked for guidance in answers[p]]
        if not (newer and older):
            return "unanswered"
        # In lockstep System 2 takes its next request at a tick, not between two.
        later = (a.observation_ns for a in self._acted(asked) if a.observation_ns >= max(older))
        free_ns = next(later, max(older))
        return "superseded" if free_ns >= min(newer) else "unanswered"

    def _acted(self, place: Place) -> list[Used]:
        """The actions of an episode, in order."""
        return [self._actions[p] for p in sorted(self._actions) if p[:2] == place[:2]]

    def _follow(self, story: Story, guidance: Guidance) -> None:
        """What became of a guidance: which actions took it, or why none did."""
        own = guidance.stamp.place
        actions = self._acted(own)
        ticks = [action.tick for action in actions if action.guidance == own[2]]
        if ticks:
            story.fate, story.used_ticks = "used", len(ticks)
            story.first_used, story.last_used = ticks[0], ticks[-1]
            return
        newer = [g.stamp.time_ns for p, g in self._guidance.items() if p[:2] == own[:2] and p > own]
        following_ns = min(newer, default=math.inf)
        story.fate = "superseded" if newer else "expired"
        # System 1 judges the newest guidance that is there when it looks.
        looks = (a for a in actions if guidance.stamp.time_ns <= a.observation_ns < following_ns)
        seen = next(looks, None)
        if seen is not None:
            age = seen.tick - guidance.stamp.tick
            story.reason = self._limits.refusal(age, guidance.value) or ""
            story.fate = "refused" if story.reason else story.fate

    def _behind_harm(self) -> set[Place]:
        """The guidance behind the command of the tick at which harm began, of each episode."""
        found = set()
        for episode, tick in self._harmed.items():
            acted = self._actions.get((*episode, self._commanded.get((*episode, tick), -1)))
            if acted is not None:
                found.add((*episode, acted.guidance))
        return found


def fate_of(story: Story) -> str:
    """A fate in words."""
    reason = story.reason.replace("_", " ")
    return f"{story.fate}: {reason}" if reason else story.fate


def harmful(outcome: Outcome) -> bool:
    """Whether something went wrong at this tick: a collision, or off the road."""
    return any(outcome.metrics.get(name, 0.0) > 0 for name in ("collision", "offroad"))


def tell(messages: Iterable[Message], limits: Acceptance | None = None) -> list[Story]:
    """The stories of all requests in `messages`, in the order of asking.

    `limits` are those of the run's configuration (`assembly.make_acceptance`); None: it had none.
    """
    chronicle = Chronicle(limits or Acceptance())
    for message in messages:
        chronicle.take(message)
    return chronicle.stories()
