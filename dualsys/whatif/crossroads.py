"""The ticks of a logged drive at which a call could have been made, and how each is reached."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from dualsys.messages import Action, Guidance, Message, Observation, PlanRequest
from dualsys.runtime import assembly
from dualsys.runtime.transit import Midway
from dualsys.whatif.junction import Played, play
from sim import registry

At = tuple[int, int]  # epoch, tick
UNSURE = 0.2  # share of the ticks that counts as those at which System 1 is least sure


class Pass(msgspec.Struct, frozen=True):
    """A pass of System 1's network: its tick, the guidance in force and the action before it."""

    tick: int
    told: Guidance | None
    midway: Midway


class Crossroads(msgspec.Struct, frozen=True):
    """A tick of a logged drive, how it is reached, and the guidance that was in force.

    `last_pass` is the pass that the trigger's features of this tick are of; `waiting`: answers to
    an earlier call were still to come.
    """

    scenario: str
    seed: int
    tick: int
    commands: np.ndarray  # float32 (tick, A)
    told: Guidance | None
    called: bool  # whether the drive did call here
    waiting: bool
    uncertainty: float  # of System 1 [nat]
    midway: Midway  # what was under way
    last_pass: Pass


class _Told:
    """What the log of a run says, message by message."""

    def __init__(self) -> None:
        self.actions: dict[At, Action] = {}
        self.guidance: dict[At, Guidance] = {}  # by epoch and sequence
        self.asked: dict[int, list[tuple[int, int]]] = {}  # epoch -> (tick, request) in order
        self.settled: dict[
            At, int
        ] = {}  # epoch, request -> first tick that can use the last answer
        self._now: dict[int, int] = {}

    def take(self, message: Message) -> None:
        """Note a message; they come in the order of the log."""
        epoch, tick = message.stamp.epoch, message.stamp.tick
        if isinstance(message, Observation):
            self._now[epoch] = tick
        elif isinstance(message, Action):
            self.actions[epoch, tick] = message
        elif isinstance(message, PlanRequest):
            asked = message.observation.stamp.tick, message.request_id
            self.asked.setdefault(epoch, []).append(asked)
        elif isinstance(message, Guidance):
            self.guidance[epoch, message.stamp.sequence] = message
            if message.final:
                # The action that asks is sent before any answer.
                usable = max(self._now.get(epoch, 0), tick + 1)
                self.settled[epoch, message.request_id] = usable

    def in_force(self, at: At) -> Guidance | None:
        """The guidance that the action of a tick used."""
        return self.guidance.get((at[0], self.actions[at].guidance_sequence))

    def waiting(self, at: At) -> bool:
        """Whether the newest call before a tick still had an answer to come.

        Of one whose last answer is not in the log (it was superseded, cut short or came to
        nothing) it is not known for how long it occupied System 2: until the next call, then.
        """
        epoch, tick = at
        before = [request for asked, request in self.asked.get(epoch, []) if asked < tick]
        return bool(before) and self.settled.get((epoch, before[-1]), tick + 1) > tick


def crossroads(run: Path, calls_only: bool) -> list[Crossroads]:
    """Every tick at which the trigger could decide, or those only at which it did call.

    Raises `DualsysError` for a folder that is no run.
    """
    told = _Told()
    played = play(run, told.take)
    called = {(epoch, tick) for epoch, asked in told.asked.items() for tick, _ in asked}
    chosen = sorted(called & set(told.actions) if calls_only else told.actions)
    return [
        _place(played, told, at, at in called)
        for at in chosen
        if at[1] < len(played.commands[at[0]])
    ]


def comparable(places: list[Crossroads]) -> list[Crossroads]:
    """The places from which the drive without a call is known: no earlier answer was to come.

    Elsewhere the branch without a call would go without that answer, too, and the call would be
    praised for what the earlier one brought. A gate is not asked there either while a thought is
    shorter than its refractory time.
    """
    return [place for place in places if not place.waiting]


def drawn(places: list[Crossroads], count: int, unsure: float, seed: int) -> list[Crossroads]:
    """At most `count` of the places, in order; the share `unsure` from the least sure fifth.

    Calls change something where System 1 is unsure, and a gate sees how sure it is: drawing by that
    spends the trials where there is something to learn, and leaves what is learned for a given
    uncertainty as it was.
    """
    rng = np.random.default_rng(seed)
    doubt = np.nan_to_num([place.uncertainty for place in places], nan=np.inf)
    fifth = np.flatnonzero(doubt >= np.quantile(doubt, 1 - UNSURE)) if places else np.zeros(0, int)
    first = rng.permutation(fifth)[: round(unsure * count)]
    others = np.setdiff1d(np.arange(len(places)), first)
    rest = rng.permutation(others)[: count - len(first)]
    return [places[i] for i in sorted([*first, *rest])]


def _place(played: Played, told: _Told, at: At, called: bool) -> Crossroads:
    epoch, tick = at
    row, done = played.rows[epoch], played.commands[epoch]
    spec = registry.spec_of(row["scenario"])
    under_way = max(1, assembly.make_latency(played.config, spec).system1_ticks)
    last = tuple(done[max(0, tick - 2) : tick])
    midway = _midway(told, at, under_way, last)
    # The pass itself may be missing where a log of the wall clock begins or has a gap.
    passed = told.actions[at].chunk_tick
    passed = passed if (epoch, passed) in told.actions else tick
    behind = Pass(passed, told.in_force((epoch, passed)), _midway(told, (epoch, passed), 1, ()))
    where = row["scenario"], row["seed"], tick, done[:tick]
    unsure = told.actions[at].uncertainty
    return Crossroads(*where, told.in_force(at), called, told.waiting(at), unsure, midway, behind)


def _midway(told: _Told, at: At, ticks: int, commands: tuple[np.ndarray, ...]) -> Midway:
    """Where System 1 stood before a tick: its actions of so many ticks, and the last commands."""
    epoch, tick = at
    known = (told.actions.get((epoch, t)) for t in range(tick - ticks, tick))
    before = tuple(action for action in known if action is not None)
    return Midway(told.actions[at].stamp.session, epoch, before, commands)
