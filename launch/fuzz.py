"""Fuzzes what comes from outside: `python launch/fuzz.py --frames 1000000 --out FILE`.

Frames of every message, damaged in every way that a link, a disk or an enemy may, go through
the decoder; what comes out of it goes through inbox, links and shield. Nothing but `CodecError` may
be raised, no frame may take long or much memory, and every command must be safe.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dualsys.codec import decode, encode
from dualsys.errors import CodecError, DualsysError
from dualsys.inbox import Inbox
from dualsys.messages import (
    Ack,
    Action,
    Command,
    Guidance,
    Health,
    Hello,
    Label,
    Message,
    Observation,
    Outcome,
    PlanRequest,
    Stamp,
    Thought,
)
from dualsys.requests import ClientLink, ServerLink
from dualsys.runtime.results import git_state, machine, versions
from dualsys.shield.ladder import Ladder, LadderConfig
from dualsys.shield.shield import Shield, ShieldConfig
from dualsys.spec import WorldSpec

SESSION, LONG_S, MUCH = 7, 1.0, 64 * 1024 * 1024  # what a frame may take
SIZES = (0, 1, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63 - 1)
VALUES = (np.nan, np.inf, -np.inf, 1e300, -1e300, 1e-320, 0.0, -0.0)


def examples(spec: WorldSpec, rng: np.random.Generator) -> list[Message]:
    """One of every message, as a run sends it."""
    stamp = Stamp(SESSION, 0, 1, 0, 0)
    images = {
        c.name: rng.integers(0, 256, (c.height, c.width, c.channels), np.uint8)
        for c in spec.cameras
    }
    state = np.zeros(len(spec.state), np.float32)
    scene = np.zeros((spec.scene_rows, len(spec.scene_fields)), np.float32)
    seen = Observation(stamp, images, dict.fromkeys(images, 0), state, scene, "drive on")
    chunk = np.zeros((16, len(spec.action)), np.float32)
    told = Guidance(stamp, 1, 0, np.zeros(8, np.float32), chunk, 0.0, True, 5, "because")
    return [
        seen,
        Action(stamp, 0, chunk, 0, 0.0, 0, -1, -1, 0),
        Command(stamp, chunk[0], "system1", ("rate_limit",), 1, 0, chunk[0], "fresh"),
        Outcome(stamp, 0.0, False, False, False, {"speed": 1.0}),
        PlanRequest(stamp, 1, seen, chunk[None], "periodic", 0.0, "short"),
        told,
        Thought(stamp, 1, {}, {}, chunk[None], np.zeros(1, np.float32), 0, {}),
        Label(stamp, chunk[0]),
        Ack(stamp, 1, 1),
        Hello(stamp, "system1", spec),
        Health(stamp, "world", "running", {"a": 1}, {"act": [1, 2]}),
    ]


def flipped(frame: bytearray, rng: np.random.Generator) -> None:
    """Some bits the other way round."""
    for _ in range(int(rng.integers(1, 4))):
        frame[int(rng.integers(len(frame)))] ^= 1 << int(rng.integers(8))


def cut(frame: bytearray, rng: np.random.Generator) -> None:
    """The end is missing."""
    del frame[int(rng.integers(len(frame))) :]


def stretched(frame: bytearray, rng: np.random.Generator) -> None:
    """Bytes are in the middle that do not belong there."""
    at = int(rng.integers(len(frame)))
    frame[at:at] = rng.bytes(int(rng.integers(1, 64)))


def shortened(frame: bytearray, rng: np.random.Generator) -> None:
    """Bytes are missing from the middle."""
    at = int(rng.integers(len(frame)))
    del frame[at : at + int(rng.integers(1, 64))]


def sized(frame: bytearray, rng: np.random.Generator) -> None:
    """A length, wherever it stands, says something huge."""
    size = int(rng.choice(SIZES))
    packed = struct.pack("<Q" if rng.random() < 0.5 else ">Q", size)
    at, width = int(rng.integers(len(frame))), int(rng.choice([1, 2, 4, 8]))
    frame[at : at + width] = packed[:width]


def poisoned(frame: bytearray, rng: np.random.Generator) -> None:
    """A number is none, or out of all bounds."""
    with np.errstate(over="ignore"):
        kind = np.float32 if rng.random() < 0.5 else np.float64
        value = kind(rng.choice(VALUES)).tobytes()
    at = int(rng.integers(max(1, len(frame) - len(value))))
    frame[at : at + len(value)] = value


def noise(frame: bytearray, rng: np.random.Generator) -> None:
    """Nothing but noise behind an honest beginning."""
    frame[4:] = rng.bytes(int(rng.integers(0, 300)))


DAMAGE: tuple[Callable[[bytearray, np.random.Generator], None], ...] = (
    flipped, cut, stretched, shortened, sized, poisoned, noise,
)  # fmt: skip


class Receivers:
    """What stands behind the decoder, fed with whatever comes through it."""

    def __init__(self, spec: WorldSpec) -> None:
        rungs = {"standby": "fallback", "fresh": "full", "ageing": "full", "alone": "full",
                 "expired": "reduced", "silent": "fallback", "stopped": "fallback"}  # fmt: skip
        ladder = Ladder(LadderConfig(1.0, 0.25, 1.0, 2.0, 5.0, rungs))
        ladder.engage()
        self._spec = spec
        self._shield = Shield(spec, ShieldConfig(), ladder)
        self._actions: Inbox[Action] = Inbox(SESSION, 0)
        self._client, self._server = ClientLink(), ServerLink(SESSION)
        self._seen: Observation | None = None
        self._tick = 0
        self.commands = 0

    def take(self, message: Message) -> None:
        """Hand a message to whoever it is for. Raises `AssertionError` for a command not safe."""
        now = self._tick * self._spec.period_ns
        if isinstance(message, Observation):
            self._seen = message
        elif isinstance(message, Action):
            self._actions.offer(message, now)
            self._shield.offer(message)
        elif isinstance(message, PlanRequest) and self._server.admits(message, of_client=True):
            self._server.receive(message)
            self._client.ask(message, now)
        elif isinstance(message, Guidance | Ack):
            self._client.receive(message, now)
        if self._seen is not None and isinstance(message, Observation | Action):
            self._tick += 1
            stamp = Stamp(SESSION, 0, self._tick, self._tick, self._tick * self._spec.period_ns)
            with np.errstate(all="ignore"):
                sent = self._shield.command(stamp, self._seen).command
            self.commands += 1
            inside = (sent >= self._spec.action_low) & (sent <= self._spec.action_high)
            assert np.isfinite(sent).all(), sent
            assert inside.all(), sent


def fuzz(spec: WorldSpec, frames: int, seed: int) -> dict[str, Any]:
    """Damage and deliver so many frames. Raises whatever is no `CodecError`."""
    rng = np.random.default_rng(seed)
    whole, receivers = [encode(m) for m in examples(spec, rng)], Receivers(spec)
    whole_ones = [frame for frame in whole if len(frame) < 4096] * 6 + whole  # large ones are slow
    counts: Counter[str] = Counter()
    longest = 0.0
    for number in range(frames):
        frame = bytearray(whole_ones[int(rng.integers(len(whole_ones)))])
        for damage in rng.choice(np.arange(len(DAMAGE)), int(rng.choice([1, 1, 1, 2, 3]))):
            if frame:
                DAMAGE[damage](frame, rng)
        begin = time.perf_counter()
        try:
            message = decode(bytes(frame))
        except CodecError:
            counts["refused"] += 1
        else:
            counts["decoded"] += 1
            receivers.take(message)
        longest = max(longest, time.perf_counter() - begin)
        if number % 100_000 == 0 and number:
            sys.stderr.write(f"{number} frames\n")
    return {**counts, "frames": frames, "commands": receivers.commands, "longest_s": longest}


def main() -> None:
    """Fuzz, print and write; exits with 1 when a frame took too long or too much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--scenario", default="driving/merge")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz.json"))
    options = parser.parse_args()
    from sim import registry

    try:
        spec = registry.spec_of(options.scenario)
    except DualsysError as error:
        parser.exit(2, f"fuzz: {error}\n")
    # What a frame takes is measured on a part: tracing every allocation is slow.
    tracemalloc.start()
    fuzz(spec, min(options.frames, 20_000), options.seed + 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    found = {**fuzz(spec, options.frames, options.seed), "peak_bytes": peak}
    sys.stdout.write(
        f"{found['frames']} frames: {found['refused']} refused, {found['decoded']} decoded, "
        f"{found['commands']} commands, all safe; the longest took {found['longest_s']:.3f} s, "
        f"memory at most {peak / 1e6:.1f} MB\n"
    )
    report = {**found, "versions": versions(), "git": git_state(), "machine": machine()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1))
    sys.exit(1 if found["longest_s"] > LONG_S or peak > MUCH else 0)


if __name__ == "__main__":
    main()
