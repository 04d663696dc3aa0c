"""What would have come of each candidate: rolled out from the very state it was proposed in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dualsys.errors import DualsysError
from dualsys.messages import Guidance, Message, Thought
from dualsys.system1.policy import Policy
from dualsys.whatif.junction import Junction, play, tried


class Branch(msgspec.Struct, frozen=True):
    """A thought's candidates at one tick of one episode, and how that state is reached."""

    scenario: str
    seed: int
    tick: int
    commands: np.ndarray  # float32 (tick, A): what was done before
    candidates: np.ndarray  # float32 (N, T, A)
    values: np.ndarray  # float32 (N,)
    guidance: Guidance  # what was told; System 1 goes on under its plan
    run: str = ""  # the folder that it was read from


class Way(msgspec.Struct, frozen=True):
    """What is tried from a branch's state: commands as they are, then System 1 under guidance."""

    carried: np.ndarray  # float32 (T, A); T may be 0
    guidance: Guidance


def plan_alone(branch: Branch) -> Way:
    """System 1 under what was told, without any candidate."""
    nothing = branch.candidates[0, :0]
    return Way(nothing, msgspec.structs.replace(branch.guidance, candidate=nothing))


def carried_out(branch: Branch) -> list[Way]:
    """Every candidate as it is, and System 1 after its end."""
    after = plan_alone(branch).guidance
    return [Way(chunk, after) for chunk in branch.candidates]


def gone_on_from(branch: Branch) -> list[Way]:
    """System 1 going on from every candidate (cascaded denoising)."""
    nothing, told = branch.candidates[0, :0], branch.guidance
    return [
        Way(nothing, msgspec.structs.replace(told, candidate=chunk)) for chunk in branch.candidates
    ]


def branches(run: Path) -> tuple[dict[str, Any], list[Branch]]:
    """The configuration of a run, and every valued thought of its log, in order."""
    thoughts: dict[tuple[int, int, int], Thought] = {}
    told: list[Guidance] = []

    def take(message: Message) -> None:
        if isinstance(message, Thought) and len(message.values) > 1:
            thoughts[message.stamp.place] = message
        elif isinstance(message, Guidance) and message.final:
            told.append(message)

    played = play(run, take)
    found = []
    for guidance in told:
        epoch, tick = guidance.stamp.epoch, guidance.stamp.tick
        valued = thoughts.get(guidance.stamp.place)
        if valued is not None and len(played.commands.get(epoch, ())) > tick:
            row, before = played.rows[epoch], played.commands[epoch][:tick]
            scenario, seed = row["scenario"], row["seed"]
            chunks, values = valued.candidates, valued.values
            where = scenario, seed, tick, before
            found.append(Branch(*where, chunks, values, guidance, str(run)))
    return played.config, found


def drawn_branches(run: Path, count: int, seed: int) -> tuple[dict[str, Any], list[Branch]]:
    """The configuration of a run, and `count` of its branches, drawn without replacement.

    Raises `DualsysError` when the run holds none.
    """
    config, found = branches(run)
    if not found:
        raise DualsysError(
            f"{run} holds no valued thought; run `dualsys eval system2=vlm system2.candidates=5`"
        )
    places = np.random.default_rng(seed).permutation(len(found))[:count]
    return config, [found[i] for i in sorted(places)]


def realised_return(
    world: Any, policy: Policy, junction: Junction, way: Way, tick: int, gamma: float, ticks: int
) -> float | None:
    """Discounted return of `ticks` ticks of a way from the junction, which is at `tick`.

    `gamma` is per tick. An episode that terminates earns nothing more; one that is truncated ends
    the sum, too. System 1's commands act at once and unshielded here. None where the episode is
    over before the junction.
    """
    reached = junction.reach()
    if reached is None:
        return None
    frame, info = reached
    policy.reset(0)
    total = 0.0
    for step in range(ticks):
        if step < len(way.carried):
            command = way.carried[step]
        else:
            observation = tried(world, frame, info, tick + step)
            command = policy.act(observation, way.guidance, 0).action.commands[0]
        frame, reward, terminated, truncated, info = world.step(command)
        total += gamma**step * reward
        if terminated or truncated:
            break
    return total
