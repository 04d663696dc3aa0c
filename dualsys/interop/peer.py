"""A policy server of another stack, asked for chunks: what its clients have in common."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import numpy as np

from dualsys.errors import DualsysError
from dualsys.interop.naming import Naming, commands, tell
from dualsys.messages import Observation
from dualsys.spec import WorldSpec
from dualsys.system2.endpoint import EndpointError

PAUSES_S = (0.5, 5.0)  # after a first failure, and at most


class Wire(Protocol):
    """One connection to a server: opened when it is asked over, closed when it failed."""

    def ask(self, told: dict[str, Any], deadline_s: float) -> dict[str, Any]:
        """The answer to an observation under the peer's names: its streams.

        Raises `EndpointError` ("unreachable", "slow", "refused" or "malformed").
        """
        ...

    def reset(self) -> None:
        """A new episode begins."""
        ...

    def close(self) -> None:
        """What comes later belongs to nothing."""
        ...


class Backoff:
    """After every failure in a row, twice as long is not asked. Pure."""

    def __init__(self) -> None:
        self._pause_s, self._until_s = 0.0, 0.0

    def left_s(self, now_s: float) -> float:
        """How long not to ask yet."""
        return max(0.0, self._until_s - now_s)

    def failed(self, now_s: float) -> None:
        """Nobody was there."""
        self._pause_s = min(PAUSES_S[1], 2 * self._pause_s or PAUSES_S[0])
        self._until_s = now_s + self._pause_s

    def succeeded(self) -> None:
        """Somebody was."""
        self._pause_s = self._until_s = 0.0


class PeerConfig(msgspec.Struct, frozen=True):
    """Whom to ask, and for how long."""

    url: str
    deadline_s: float


class Peer:
    """Chunks from a server, in our units and order of axes."""

    def __init__(
        self,
        spec: WorldSpec,
        naming: Naming,
        wire: Wire,
        config: PeerConfig,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec, self._naming, self._wire, self._config = spec, naming, wire, config
        self._now, self._backoff = now, Backoff()
        self._episode: tuple[int, int] | None = None

    def chunks(self, seen: Observation, count: int) -> np.ndarray:
        """Up to `count` chunks float32 (N, T, A) for what is seen, one at least.

        Every one is asked for by itself: its noise is the server's. What the deadline leaves out
        is left out. Raises `EndpointError`.
        """
        begin_s = self._now()
        left_s = self._backoff.left_s(begin_s)
        if left_s:
            raise EndpointError("unreachable", f"not asked again for {left_s:.1f} s")
        found: list[np.ndarray] = []
        told = tell(self._naming, self._spec, seen)
        try:
            self._begin(seen.stamp.session, seen.stamp.epoch)
            while len(found) < count:
                rest_s = self._config.deadline_s - (self._now() - begin_s)
                if rest_s <= 0:
                    raise EndpointError("slow", f"no answer in {self._config.deadline_s} s")
                found.append(commands(self._naming, self._spec, self._wire.ask(told, rest_s)))
        except EndpointError as error:
            self._wire.close()  # an answer that comes late belongs to nothing
            if error.reason == "unreachable":
                self._backoff.failed(self._now())
            if error.reason != "slow" or not found:
                raise
        except DualsysError as error:
            raise EndpointError("malformed", f"{self._config.url}: {error}") from error
        self._backoff.succeeded()
        ticks = min(len(chunk) for chunk in found)
        return np.stack([chunk[:ticks] for chunk in found])

    def _begin(self, session: int, epoch: int) -> None:
        if self._episode != (session, epoch):
            self._wire.reset()
            self._episode = session, epoch
