"""Latency models of lockstep: what a System-1 tick and a System-2 thought cost."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np

from dualsys.errors import DualsysError


class LatencyModel(Protocol):
    """Draws latencies; equal seeds give equal draws. `reset` starts an episode."""

    system1_ticks: int

    def reset(self, epoch: int) -> None:
        """Start the random stream of the episode `epoch`."""
        ...

    def answers_ns(self, count: int) -> list[int]:
        """Times [ns] from request to each of the `count` answers of the next thought, ascending."""
        ...


class FixedLatency:
    """The same every time; `FixedLatency(0, 0)` is the model "none"."""

    def __init__(self, system1_ticks: int, system2_ms: float) -> None:
        if system1_ticks < 0 or not system2_ms >= 0:
            raise DualsysError(
                f"latency must not be negative, got latency.system1_ticks={system1_ticks}, "
                f"latency.system2_ms={system2_ms}"
            )
        self.system1_ticks = system1_ticks
        self._system2_ns = round(system2_ms * 1e6)

    def reset(self, epoch: int) -> None:
        """Nothing is random."""

    def answers_ns(self, count: int) -> list[int]:
        """Return even parts of the fixed latency."""
        return _even(self._system2_ns, count)


class TickLatency:
    """Every answer comes so many control ticks after its question: what a delay sweep varies."""

    def __init__(self, system1_ticks: int, system2_ticks: int, period_ns: int) -> None:
        if system1_ticks < 0 or system2_ticks < 0:
            raise DualsysError(
                f"latency must not be negative, got latency.system1_ticks={system1_ticks}, "
                f"latency.system2_ticks={system2_ticks}"
            )
        self.system1_ticks = system1_ticks
        self._system2_ns = system2_ticks * period_ns

    def reset(self, epoch: int) -> None:
        """Nothing is random."""

    def answers_ns(self, count: int) -> list[int]:
        """Return the same time for all: an answer before its delay would make it another one."""
        return [self._system2_ns] * count


class DistributionLatency:
    """Log-normal System-2 latency with the given median and 99th percentile."""

    _Z99 = 2.3263478740408408  # 99th percentile of the standard normal distribution

    def __init__(
        self, system1_ticks: int, system2_median_ms: float, system2_p99_ms: float, seed: int
    ) -> None:
        if not 0 < system2_median_ms <= system2_p99_ms:
            raise DualsysError(
                "latency=distribution needs 0 < system2_median_ms <= system2_p99_ms, got "
                f"{system2_median_ms} and {system2_p99_ms}"
            )
        self.system1_ticks = system1_ticks
        self._log_median = np.log(system2_median_ms)
        self._sigma = (np.log(system2_p99_ms) - self._log_median) / self._Z99
        self._seed = seed
        self.reset(0)

    def reset(self, epoch: int) -> None:
        """Start the stream of the episode."""
        self._rng = np.random.default_rng((self._seed, epoch))

    def answers_ns(self, count: int) -> list[int]:
        """Return even parts of a draw from the log-normal distribution."""
        draw = float(np.exp(self._rng.normal(self._log_median, self._sigma)))
        return _even(round(draw * 1e6), count)


class Trace(msgspec.Struct, frozen=True):
    """Latencies measured by a realtime run (`latency.json` in its output folder)."""

    system1_ticks: int
    system2_ns: list[list[int]]  # for each thought, the time from the request to each answer
    machine: str


class TraceLatency:
    """Replays the latencies of a recorded run, starting at an offset that depends on the epoch."""

    def __init__(self, trace: Trace, start: int = 0) -> None:
        """Epoch 0 starts with the thought number `start`, counted round."""
        if not all(trace.system2_ns) or not trace.system2_ns:
            raise DualsysError(
                "the latency trace holds no System-2 thought; record one with runtime=realtime "
                "and a planner"
            )
        self.system1_ticks = trace.system1_ticks
        self._trace, self._start = trace.system2_ns, start
        self.reset(0)

    def reset(self, epoch: int) -> None:
        """Jump to the part of the trace that belongs to the episode, whichever worker runs it."""
        self._next = (self._start + epoch * 97) % len(self._trace)

    def answers_ns(self, count: int) -> list[int]:
        """Return the next recorded thought; one of another number of answers is stretched over."""
        thought = self._trace[self._next]
        self._next = (self._next + 1) % len(self._trace)
        if len(thought) == count:
            return list(thought)
        places = np.linspace(0, len(thought) - 1, count) if count > 1 else [len(thought) - 1]
        return [round(float(v)) for v in np.interp(places, range(len(thought)), thought)]


def _even(total_ns: int, count: int) -> list[int]:
    return [total_ns * (index + 1) // count for index in range(count)]


def load_trace(path: Path) -> Trace:
    """Read a recorded trace. Raises `DualsysError` when the file is missing or is not one."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Trace)
    except (OSError, msgspec.DecodeError) as error:
        raise DualsysError(
            f"latency=trace needs latency.trace=FILE, a latency.json that runtime=realtime wrote; "
            f"{path}: {error}"
        ) from error
