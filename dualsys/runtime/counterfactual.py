"""What would have come of each candidate: rolled out from the very state it was proposed in.

Worlds are functions of seed and commands, so a state is reached by doing again what was done. A
world that can save its state is led there once, any other for every rollout.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dualsys.errors import DualsysError
from dualsys.messages import Command, Guidance, Observation, PlanRequest, Stamp, Thought
from dualsys.runtime.log import read_log
from dualsys.statistics import bootstrap
from dualsys.system1.policy import Policy
from sim.world import SavableWorld


class Branch(msgspec.Struct, frozen=True):
    """A thought's candidates at one tick of one episode, and how that state is reached."""

    scenario: str
    seed: int
    tick: int
    commands: np.ndarray  # float32 (tick, A): what was done before
    candidates: np.ndarray  # float32 (N, T, A)
    values: np.ndarray  # float32 (N,)
    guidance: Guidance  # what was told; System 1 goes on under its plan


def branches(run: Path) -> list[Branch]:
    """Every valued thought of a run's folder (results.json and log.mcap), in the log's order."""
    results = msgspec.json.decode((run / "results.json").read_bytes())
    rows = {row["epoch"]: row for row in results["episodes"]}
    done: dict[int, list[np.ndarray]] = {}
    asked: dict[tuple[int, int], int] = {}
    thought: Thought | None = None
    found: list[tuple[int, int, Thought, Guidance]] = []
    for _, message in read_log(run / "log.mcap"):
        epoch = message.stamp.epoch
        if isinstance(message, Command):
            done.setdefault(epoch, []).append(message.command)
        elif isinstance(message, PlanRequest):
            asked[epoch, message.request_id] = message.observation.stamp.tick
        elif isinstance(message, Thought):
            thought = message
        elif isinstance(message, Guidance) and thought is not None and len(thought.values) > 1:
            if message.final and thought.request_id == message.request_id:
                found.append((epoch, asked[epoch, message.request_id], thought, message))
            thought = None
    return [
        Branch(
            rows[epoch]["scenario"],
            rows[epoch]["seed"],
            tick,
            np.array(done[epoch], np.float32)[:tick],
            thought.candidates,
            thought.values,
            guidance,
        )
        for epoch, tick, thought, guidance in found
        if len(done.get(epoch, [])) > tick
    ]


def drawn_branches(run: Path, count: int, seed: int) -> tuple[dict[str, Any], list[Branch]]:
    """The configuration of a run, and `count` of its branches, drawn without replacement.

    Raises `DualsysError` when the run holds none.
    """
    found = branches(run)
    if not found:
        raise DualsysError(
            f"{run} holds no valued thought; run `dualsys eval system2=vlm system2.candidates=5`"
        )
    config = msgspec.json.decode((run / "results.json").read_bytes())["config"]
    places = np.random.default_rng(seed).permutation(len(found))[:count]
    return config, [found[i] for i in sorted(places)]


def in_parts(branches: list[Branch], size: int = 4) -> Iterator[tuple[str, tuple[Branch, ...]]]:
    """The branches scenario by scenario, a few at a time: what one worker takes on."""
    for scenario in dict.fromkeys(branch.scenario for branch in branches):
        mine = [branch for branch in branches if branch.scenario == scenario]
        for at in range(0, len(mine), size):
            yield scenario, tuple(mine[at : at + size])


@contextmanager
def driven_world(config: dict[str, Any], scenario: str) -> Iterator[tuple[Any, Policy]]:
    """A world with System 1 for it, as the `eval` configuration says; for worker processes."""
    import torch

    from dualsys.runtime import assembly
    from sim import registry

    torch.set_num_threads(1)
    world = registry.make(scenario)
    try:
        engine = assembly.make_engine(config, world.world_spec).engine
        yield world, assembly.make_policy(config, world.world_spec, engine)
    finally:
        world.close()


class Junction:
    """A state of an episode from which several ways are tried. Valid until the world's reset."""

    def __init__(self, world: Any, seed: int, commands: np.ndarray) -> None:
        self._world, self._seed, self._commands = world, seed, commands
        self._saved: tuple[Any, Any, dict[str, Any]] | None = None

    @classmethod
    def here(cls, world: Any, frame: Any, info: dict[str, Any]) -> Junction:
        """The present state of a world that can save it."""
        junction = cls(world, 0, np.zeros((0, 0), np.float32))
        junction._saved = world.save(), frame, info
        return junction

    def reach(self) -> tuple[Any, dict[str, Any]] | None:
        """Put the world there: frame and info, or None where the episode is over before."""
        if self._saved is not None:
            saved, frame, info = self._saved
            self._world.restore(saved)
            return frame, info
        frame, info = self._world.reset(seed=self._seed)
        for command in self._commands:
            frame, _, terminated, truncated, info = self._world.step(command)
            if terminated or truncated:
                return None
        if isinstance(self._world, SavableWorld):
            self._saved = self._world.save(), frame, info
        return frame, info


def realised_return(
    world: Any,
    policy: Policy,
    junction: Junction,
    branch: Branch,
    chunk: np.ndarray,
    gamma: float,
    ticks: int,
) -> float:
    """Discounted return of `ticks` ticks from the branch's state: `chunk` (T, A), then System 1.

    `gamma` is per tick. An episode that terminates earns nothing more; one that is truncated ends
    the sum, too.
    """
    reached = junction.reach()
    if reached is None:
        return 0.0
    frame, info = reached
    policy.reset(0)
    total = 0.0
    for step in range(ticks):
        if step < len(chunk):
            command = chunk[step]
        else:
            observation = observation_of(world, frame, info, branch.tick + step)
            command = policy.act(observation, branch.guidance, 0).action.commands[0]
        frame, reward, terminated, truncated, info = world.step(command)
        total += gamma**step * reward
        if terminated or truncated:
            break
    return total


def observation_of(world: Any, frame: Any, info: dict[str, Any], tick: int) -> Observation:
    """The observation of one tick, as System 1 gets it in a run."""
    return Observation(
        stamp=Stamp(0, 0, tick + 1, tick, tick * world.world_spec.period_ns),
        images=frame["images"],
        image_ticks=info["image_ticks"],
        state=frame["state"],
        scene=frame["scene"],
        instruction=world.instruction,
    )


class Ranking(msgspec.Struct, frozen=True):
    """How well values order the realised returns; intervals are 95% bootstrap over states."""

    states: int
    spearman: float
    spearman_ci95: tuple[float, float]
    argmax_gain: float  # return of the argmax minus the mean return of the candidates
    argmax_gain_ci95: tuple[float, float]
    beats_random: float  # share of states in which argmax beats a random pick, ties count half
    beats_random_ci95: tuple[float, float]


def rank(values: np.ndarray, returns: np.ndarray, seed: int = 0) -> Ranking:
    """Compare values and realised returns, both (states, N).

    States in which all candidates return the same say nothing of the order and are left out of the
    correlation, not of the rest.
    """
    from scipy.stats import spearmanr

    best = returns[np.arange(len(returns)), values.argmax(1)]
    gain = best - returns.mean(1)
    others = (best[:, None] > returns).mean(1) + 0.5 * (best[:, None] == returns).mean(1)
    telling = (np.ptp(returns, 1) > 1e-9) & (np.ptp(values, 1) > 0)
    order = np.array(
        [spearmanr(v, r).statistic for v, r in zip(values[telling], returns[telling], strict=True)]
    )
    return Ranking(
        len(values),
        float(order.mean()) if len(order) else 0.0,
        bootstrap(order, seed),
        float(gain.mean()),
        bootstrap(gain, seed),
        float(others.mean()),
        bootstrap(others, seed),
    )
