"""A state of an episode from which several ways are tried, and how a log leads there.

Worlds are functions of seed and commands, so a state is reached by doing again what was done. A
world that can save its state is led there once, any other for every way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dualsys.errors import DualsysError
from dualsys.messages import Command, Message, Observation, Stamp
from dualsys.runtime.assembly import require_no_code
from dualsys.runtime.engines import make_engine
from dualsys.runtime.log import read_log
from dualsys.runtime.observe import observation_of
from dualsys.whatif.driver import Driver, make_driver
from sim import registry
from sim.world import SavableWorld


class Played(msgspec.Struct, frozen=True):
    """The episodes of a run, by epoch: scenario, seed, and what was done."""

    config: dict[str, Any]
    rows: dict[int, dict[str, Any]]
    commands: dict[int, np.ndarray]  # float32 (T, A)


def play(run: Path, take: Callable[[Message], None]) -> Played:
    """Read a run's folder; every message but the commands goes to `take`, in the log's order.

    Raises `DualsysError` for a folder that is no run, and for one that names code by its place.
    """
    if not (run / "results.json").is_file():
        raise DualsysError(f"{run} is not the folder of a run; give the out= of a `dualsys eval`")
    results = msgspec.json.decode((run / "results.json").read_bytes())
    done: dict[int, list[np.ndarray]] = {}
    for _, message in read_log(run / "log.mcap"):
        if isinstance(message, Command):
            done.setdefault(message.stamp.epoch, []).append(message.command)
        else:
            take(message)
    rows = {row["epoch"]: row for row in results["episodes"]}
    commands = {epoch: np.array(rows, np.float32) for epoch, rows in done.items()}
    return Played(require_no_code(results["config"], f"{run}/results.json"), rows, commands)


Passing = Callable[[int, Any, dict[str, Any]], None]


def _unnoticed(tick: int, frame: Any, info: dict[str, Any]) -> None: ...


class Junction:
    """A state of an episode from which several ways are tried. Valid until the world's reset."""

    def __init__(self, world: Any, seed: int, commands: np.ndarray) -> None:
        """The state after `commands` (tick, A) in the episode of `seed`."""
        self.last_commands = tuple(commands[-2:])
        self._world, self._seed, self._commands = world, seed, commands
        self._saved: tuple[Any, Any, dict[str, Any]] | None = None

    @classmethod
    def here(cls, world: Any, frame: Any, info: dict[str, Any]) -> Junction:
        """The present state of a world that can save it."""
        junction = cls(world, 0, np.zeros((0, 0), np.float32))
        junction._saved = world.save(), frame, info
        return junction

    def reach(self, passing: Passing | None = None) -> tuple[Any, dict[str, Any]] | None:
        """Put the world there: frame and info, or None where the episode is over before.

        The first time, `passing` is told every tick on the way with its frame and info, the last
        one included.
        """
        if self._saved is not None:
            saved, frame, info = self._saved
            self._world.restore(saved)
            return frame, info
        frame, info = self._world.reset(seed=self._seed)
        passing = passing or _unnoticed
        passing(0, frame, info)
        for tick, command in enumerate(self._commands):
            frame, _, terminated, truncated, info = self._world.step(command)
            if terminated or truncated:
                return None
            passing(tick + 1, frame, info)
        if isinstance(self._world, SavableWorld):
            self._saved = self._world.save(), frame, info
        return frame, info


@contextmanager
def driven_world(config: dict[str, Any], scenario: str) -> Iterator[tuple[Any, Driver]]:
    """A world with a driver for it, as the `eval` configuration says; for worker processes.

    Its trigger asks nobody and every guidance is accepted: who tries a way decides what it is told.
    """
    import torch

    torch.set_num_threads(1)
    world = registry.make_stepped(scenario)
    try:
        engine = make_engine(config, world.world_spec).engine
        yield world, make_driver(config, world.world_spec, engine)
    finally:
        world.close()


def tried(
    world: Any, frame: Any, info: dict[str, Any], tick: int, session: int = 0, epoch: int = 0
) -> Observation:
    """The observation of one tick of a way that is tried; what is drawn there follows its stamp."""
    stamp = Stamp(session, epoch, tick + 1, tick, tick * world.world_spec.period_ns)
    return observation_of(world, frame, info, stamp)
