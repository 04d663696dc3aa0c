"""The questions that System 2 answers, as one table, and their true answers from simulator state.

A chain per domain (FASIONAD++, arXiv 2503.08162: scene, hazard objects, planning state, high-level
plan; the published papers do not print their list, this one is ours). An answer is one word per
slot, so it can be decoded under a grammar and always parses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import numpy as np

from dualsys.errors import DualsysError, UnknownNameError
from dualsys.spec import WorldSpec


class Slot(msgspec.Struct, frozen=True):
    """One word of an answer: its name and the words it may be."""

    name: str
    words: tuple[str, ...]


class Question(msgspec.Struct, frozen=True):
    """One question of a chain: several ways to ask it, one form of answer."""

    name: str
    phrasings: tuple[str, ...]
    slots: tuple[Slot, ...]

    def write(self, words: tuple[str, ...]) -> str:
        """The answer as text: words with commas between them and a full stop at the end."""
        return ", ".join(words) + "."

    def parse(self, text: str) -> dict[str, str]:
        """Slot -> word of an answer as `write` makes it.

        Raises `DualsysError` for another number of words, `UnknownNameError` for a foreign word.
        """
        words = text.strip().removesuffix(".").split(", ")
        if len(words) != len(self.slots):
            raise DualsysError(
                f"the answer {text!r} to {self.name!r} has {len(words)} words, expected one for "
                f"each of {[slot.name for slot in self.slots]}"
            )
        for slot, word in zip(self.slots, words, strict=True):
            if word not in slot.words:
                raise UnknownNameError(f"{self.name} {slot.name}", word, slot.words)
        return {slot.name: word for slot, word in zip(self.slots, words, strict=True)}


_DISTANCE = ("none", "far", "near", "close")
_TABLE: dict[str, tuple[Question, ...]] = {
    "driving": (
        Question(
            "scene",
            ("What is around the vehicle?", "Describe the traffic.", "Which lanes are free?"),
            (
                Slot("left_lane", ("none", "free", "taken")),
                Slot("right_lane", ("none", "free", "taken")),
                Slot("ahead", _DISTANCE),
                Slot("behind", _DISTANCE),
            ),
        ),
        Question(
            "hazard",
            ("Which object is a hazard?", "What could we collide with?", "Name the hazard."),
            (
                Slot("where", ("none", "ahead", "left", "right", "behind")),
                Slot("motion", ("none", "closing", "crossing")),
            ),
        ),
        Question(
            "state",
            ("What is the planning state?", "How fast are we and how is the gap?"),
            (
                Slot("speed", ("stopped", "slow", "cruising", "fast")),
                Slot("gap", ("free", "opening", "steady", "closing")),
            ),
        ),
    ),
    "manipulation": (
        Question(
            "scene",
            ("Where is the object?", "Describe the scene.", "Locate the object."),
            (
                Slot("side", ("left", "middle", "right")),
                Slot("depth", ("front", "centre", "back")),
                Slot("height", ("low", "raised", "high")),
            ),
        ),
        Question(
            "hazard",
            ("What lies between hand and object?", "Where is the object seen from the hand?"),
            (
                Slot("distance", ("far", "near", "touching")),
                Slot("direction", ("left", "right", "front", "back", "above", "below")),
            ),
        ),
        Question(
            "state",
            ("What is the planning state?", "How far is the task?"),
            (
                Slot("gripper", ("open", "closed")),
                Slot("goal", ("far", "near", "reached")),
                Slot("phase", ("approach", "engage", "move", "done")),
            ),
        ),
    ),
}
_PLAN_PHRASINGS = ("What is the high-level plan?", "What should we do now?", "Choose the plan.")


def chain(spec: WorldSpec) -> tuple[Question, ...]:
    """The questions of a world in the order of thought; the last one is the plan.

    In a world of a domain that is not ours it is the only one.
    """
    plan = Question("plan", _PLAN_PHRASINGS, (Slot("plan", spec.plans),))
    return (*_TABLE.get(spec.domain, ()), plan)


BUDGETS = ("none", "short", "full")


def asked(spec: WorldSpec, budget: str) -> tuple[Question, ...]:
    """The questions of a thinking budget: the plan alone, hazard and plan, or the whole chain.

    Raises `UnknownNameError` for a budget that is none.
    """
    questions = chain(spec)
    if budget not in BUDGETS:
        raise UnknownNameError("thinking budget", budget, BUDGETS)
    short = tuple(question for question in questions if question.name in ("hazard", "plan"))
    return {"none": questions[-1:], "short": short, "full": questions}[budget]


Answers = dict[str, str]  # question name -> answer as `Question.write` makes it


def true_answers(spec: WorldSpec, state: np.ndarray, scene: np.ndarray, plan: int) -> Answers:
    """Answers from the simulator's own state (labels for training and scoring only).

    state (S,) and scene (rows, fields) as in `Observation`; plan indexes `spec.plans`. Raises
    `DualsysError` for -1, no plan: there is no true answer to the question of the plan then.
    """
    if not 0 <= plan < len(spec.plans):
        raise DualsysError(
            f"plan {plan} is none of the {len(spec.plans)} plans of this world: no true answer to "
            "the question of the plan can be written; leave out ticks without a plan"
        )
    objects = _Objects(spec, state, scene)
    rules: dict[str, Callable[[_Objects], dict[str, tuple[str, ...]]]] = {
        "driving": _driving,
        "manipulation": _manipulation,
    }
    rule = rules.get(spec.domain)
    known = {} if rule is None else rule(objects)
    words: Mapping[str, tuple[str, ...]] = {**known, "plan": (spec.plans[plan],)}
    return {question.name: question.write(words[question.name]) for question in chain(spec)}


class _Objects:
    """Named access to the state and to the columns of the objects that are present."""

    def __init__(self, spec: WorldSpec, state: np.ndarray, scene: np.ndarray) -> None:
        self._axis = {axis.name: i for i, axis in enumerate(spec.state)}
        self._field = {name: i for i, name in enumerate(spec.scene_fields)}
        self._state = state
        self.rows = scene
        self.present = scene[scene[:, self._field["present"]] > 0]

    def read(self, axis: str) -> float:
        return float(self._state[self._axis[axis]])

    def column(self, name: str) -> np.ndarray:
        return self.present[:, self._field[name]]

    def point(self, row: int) -> np.ndarray:
        return self.rows[row, [self._field[name] for name in ("x_m", "y_m", "z_m")]]


def _driving(seen: _Objects) -> dict[str, tuple[str, ...]]:
    lane, gap = seen.column("lane_offset"), seen.column("gap_m")
    own = np.abs(lane) < 0.5
    ahead = np.where(own & (gap > 0), gap, np.inf).min(initial=np.inf)
    behind = np.where(own & (gap < 0), -gap, np.inf).min(initial=np.inf)
    scene = (
        _lane_word(seen, -1, "lane_to_left"),
        _lane_word(seen, 1, "lane_to_right"),
        _distance_word(float(ahead)),
        _distance_word(float(behind)),
    )
    return {"scene": scene, "hazard": _hazard(seen), "state": _speed_and_gap(seen, own & (gap > 0))}


def _distance_word(gap_m: float) -> str:
    for word, limit in (("close", 15.0), ("near", 40.0), ("far", 100.0)):
        if gap_m < limit:
            return word
    return "none"


def _lane_word(seen: _Objects, side: int, axis: str) -> str:
    if seen.read(axis) < 0.5:
        return "none"
    beside = np.abs(seen.column("lane_offset") - side) < 0.5
    room = 8 + 0.5 * max(seen.read("speed"), 0.0)
    return "taken" if bool(np.any(beside & (np.abs(seen.column("gap_m")) < room))) else "free"


def _hazard(seen: _Objects) -> tuple[str, str]:
    """The object that comes closest first, if it comes within 3 m in the next 4 s."""
    position = np.stack([seen.column("ahead_m"), seen.column("left_m")], -1)
    velocity = np.stack([seen.column("ahead_mps"), seen.column("left_mps")], -1)
    velocity = velocity - [seen.read("speed"), 0.0]
    speed2 = np.maximum((velocity**2).sum(-1), 1e-6)
    time_s = -(position * velocity).sum(-1) / speed2
    nearest = np.linalg.norm(position + np.clip(time_s, 0, 4)[:, None] * velocity, axis=-1)
    due = (time_s > 0) & (time_s < 4) & (nearest < 3.0)
    if not due.any():
        return "none", "none"
    index = int(np.where(due, time_s, np.inf).argmin())
    ahead_m, left_m = position[index]
    if abs(left_m) > abs(ahead_m):
        where = "left" if left_m > 0 else "right"
    else:
        where = "ahead" if ahead_m > 0 else "behind"
    crossing = abs(np.sin(seen.column("heading_rad")[index])) > 0.3
    return where, "crossing" if crossing else "closing"


def _speed_and_gap(seen: _Objects, leaders: np.ndarray) -> tuple[str, str]:
    speed, cruise = seen.read("speed"), max(seen.read("cruise_speed"), 0.1)
    limits = (("stopped", 0.5), ("slow", 0.7 * cruise), ("cruising", 1.05 * cruise))
    word = next((name for name, limit in limits if speed < limit), "fast")
    gaps = np.where(leaders, seen.column("gap_m"), np.inf)
    if not len(gaps) or gaps.min() > 60.0:
        return word, "free"
    rate = float(seen.column("ahead_mps")[gaps.argmin()]) - speed
    return word, "closing" if rate < -0.5 else "opening" if rate > 0.5 else "steady"


def _manipulation(seen: _Objects) -> dict[str, tuple[str, ...]]:
    hand, thing, goal = seen.point(0), seen.point(1), seen.point(3)
    reach, left = float(np.linalg.norm(thing - hand)), float(np.linalg.norm(goal - thing))
    closed = seen.read("gripper_opening") < 0.7
    distance = "touching" if reach < 0.05 else "near" if reach < 0.15 else "far"
    remaining = "reached" if left < 0.05 else "near" if left < 0.15 else "far"
    if remaining == "reached":
        phase = "done"
    elif distance != "touching":
        phase = "approach"
    else:
        phase = "move" if closed else "engage"
    return {
        "scene": (
            _third(thing[0], -0.05, 0.05, ("left", "middle", "right")),
            _third(thing[1], 0.6, 0.75, ("front", "centre", "back")),
            _third(thing[2], 0.06, 0.16, ("low", "raised", "high")),
        ),
        "hazard": (distance, _direction(thing - hand)),
        "state": ("closed" if closed else "open", remaining, phase),
    }


def _third(value: float, low: float, high: float, words: tuple[str, str, str]) -> str:
    return words[0] if value < low else words[1] if value < high else words[2]


def _direction(offset: np.ndarray) -> str:
    axis = int(np.abs(offset).argmax())
    pairs = (("right", "left"), ("back", "front"), ("above", "below"))
    return pairs[axis][0 if offset[axis] > 0 else 1]


def balanced_weights(answers: list[str]) -> np.ndarray:
    """Sampling weights (N,), sum 1, under which every answer that occurs is equally likely."""
    kinds, index, counts = np.unique(answers, return_inverse=True, return_counts=True)
    weights: np.ndarray = 1.0 / (len(kinds) * counts[index])
    return weights
