"""Every message that crosses a process border, with shapes and units.

Axis letters used throughout: B batch, T ticks of an action chunk, H W C image height, width and
channels, A action axes, S state axes, Z plan-vector entries, N candidates, K flow samples.
Time is integer monotonic nanoseconds (virtual time in lockstep). Arrays are read-only numpy arrays.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from dualsys.spec import WorldSpec

PROTOCOL_VERSION = 1


class Stamp(msgspec.Struct, frozen=True):
    """Where and when a message belongs: what does not match is dropped and counted."""

    session: int  # one run; 53-bit
    epoch: int  # episode within the session
    sequence: int  # counts the messages of one sender and topic within the session
    tick: int  # control tick within the epoch that this message is about
    time_ns: int  # monotonic clock of the sender when it was made

    @property
    def place(self) -> tuple[int, int, int]:
        """Session, epoch and sequence: what tells the messages of one sender and topic apart."""
        return self.session, self.epoch, self.sequence


class Observation(msgspec.Struct, frozen=True, tag="observation"):
    """What the world shows at `stamp.tick`.

    `image_ticks` says at which tick each image was taken (cameras may be slower than control).
    `scene` holds object rows as `WorldSpec.scene_fields` names them; System 1 never reads it.
    """

    stamp: Stamp
    images: dict[str, np.ndarray]  # camera name -> uint8 (H, W, C)
    image_ticks: dict[str, int]
    state: np.ndarray  # float32 (S,), units of WorldSpec.state
    scene: np.ndarray  # float32 (rows, fields)
    instruction: str


class Action(msgspec.Struct, frozen=True, tag="action"):
    """Commands for the ticks `first_tick` .. `first_tick + T - 1`; the plant side picks by tick."""

    stamp: Stamp  # tick of the observation it answers
    first_tick: int
    commands: np.ndarray  # float32 (T, A), units of WorldSpec.action
    observation_ns: int  # time_ns of the observation it answers
    uncertainty: float  # of the chunk [nat], see dualsys.system1.uncertainty
    chunk_tick: int  # observation tick of the network pass behind it
    guidance_sequence: int  # -1: none was used
    guidance_age_ticks: int  # -1: none was used
    compute_ns: int  # time spent inside Policy.act
    spread: float = math.nan  # of the flow's samples, in units of the data's; nan: not known
    waiting_ticks: int = -1  # since guidance was first asked for and none has come; -1: none owed


class Command(msgspec.Struct, frozen=True, tag="command"):
    """What the shield really sent to the plant at `stamp.tick`, and why."""

    stamp: Stamp
    command: np.ndarray  # float32 (A,)
    source: str  # "system1" or "fallback"
    interventions: tuple[str, ...]
    action_sequence: int  # -1: no action was in force
    observation_age_ns: int  # -1: none; else now minus the time of the observation behind it
    # float32 (A,): what was to be sent before the limits, of the source; (0,) in old logs.
    wanted: np.ndarray = msgspec.field(default_factory=lambda: np.zeros(0, np.float32))
    rung: str = ""  # of the staleness ladder; "" in old logs


class Outcome(msgspec.Struct, frozen=True, tag="outcome"):
    """The result of one world step, as upstream defines reward, termination and success."""

    stamp: Stamp
    reward: float
    terminated: bool
    truncated: bool
    success: bool
    metrics: dict[str, float]


class PlanRequest(msgspec.Struct, frozen=True, tag="plan_request"):
    """System 1 asks System 2 to think about the observation that raised the request."""

    stamp: Stamp
    request_id: int
    observation: Observation
    samples: np.ndarray  # float32 (K, T, A): System 1's sampled chunks; K may be 0
    reason: str
    uncertainty: float
    budget: str  # "none", "short" or "full"


class Guidance(msgspec.Struct, frozen=True, tag="guidance"):
    """One compressed piece of advice; `stamp.tick` is the tick of the observation it is about."""

    stamp: Stamp
    request_id: int
    plan: int  # index into WorldSpec.plans
    z: np.ndarray  # float32 (Z,): compressed plan vector; Z may be 0
    candidate: np.ndarray  # float32 (T, A): chosen chunk from stamp.tick on; T may be 0
    value: float  # System 2's value of the chosen chunk; nan when not valued
    final: bool  # no better answer to this request will follow
    thinking_ns: int
    text: str  # what was thought, for people

    @classmethod
    def of_plan(
        cls, stamp: Stamp, request_id: int, plan: int, axes: int, text: str = ""
    ) -> Guidance:
        """A plan alone, final: no code, no candidate of the world's `axes` command axes."""
        z, candidate = np.zeros(0, np.float32), np.zeros((0, axes), np.float32)
        return cls(stamp, request_id, plan, z, candidate, math.nan, True, 0, text)


class Thought(msgspec.Struct, frozen=True, tag="thought"):
    """What was behind a guidance: for the log and for people, never in the control path."""

    stamp: Stamp  # that of the guidance
    request_id: int
    images: dict[str, np.ndarray]  # what System 2 saw: uint8 (H, W, 3), visual prompts drawn in
    answers: dict[str, str]  # question -> answer, in the order of thought
    candidates: np.ndarray  # float32 (N, T, A) in units of WorldSpec.action; N may be 0
    values: np.ndarray  # float32 (N,)
    chosen: int  # index of the candidate that was sent; -1: none
    votes: dict[str, int]  # plan -> votes, where several plans were sampled


class Label(msgspec.Struct, frozen=True, tag="label"):
    """What an expert would have commanded at `stamp.tick`: for training, never in the control path.

    Logged where a run was told to (DAgger, arXiv 1011.0686).
    """

    stamp: Stamp
    command: np.ndarray  # float32 (A,)


class Ack(msgspec.Struct, frozen=True, tag="ack"):
    """The other side has the message with this identifier; stop resending it."""

    stamp: Stamp
    request_id: int
    acknowledged: int  # sequence of the acknowledged message


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The handshake: who speaks, and for which world; a foreign spec is refused with both lists."""

    stamp: Stamp
    role: str
    spec: WorldSpec


class Introduction(msgspec.Struct, frozen=True, tag="introduction"):
    """A run asks a System 2 elsewhere to think for it; said again and again while it lasts."""

    stamp: Stamp  # sequence: which introduction it is; the clock is the robot's
    version: str  # of dualsys
    spec: WorldSpec
    plans: dict[str, str]  # instruction -> plan, where the task names it
    budget: str  # "none", "short" or "full"


class Admission(msgspec.Struct, frozen=True, tag="admission"):
    """What came of an introduction, under its own stamp."""

    stamp: Stamp
    state: str  # "loading", "ready", "busy" or "refused"
    reason: str  # why not (yet)
    planner: dict[str, str]  # what System 2 says of itself


class Health(msgspec.Struct, frozen=True, tag="health"):
    """Proof of life and counters of one process."""

    stamp: Stamp
    process: str
    state: str  # "starting", "running", "stopping"
    counters: dict[str, int]
    timing_ns: dict[str, list[int]]


Message = (
    Observation
    | Action
    | Command
    | Outcome
    | PlanRequest
    | Guidance
    | Thought
    | Label
    | Ack
    | Hello
    | Introduction
    | Admission
    | Health
)
