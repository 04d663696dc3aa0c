"""Process replay: a log is fed to one system alone, and its answers are compared with the log's.

System 1 gets every observation that it answered, with the guidance that the answer used; System 2
every request that was answered. Virtual or real, the log holds all that their answers depend on, so
the same weights on the same engine give the same bits, and another engine nearly the same numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dualsys.errors import DualsysError
from dualsys.messages import Action, Guidance, Message, Observation, PlanRequest
from dualsys.runtime import assembly, planners
from dualsys.runtime.drivers import make_system1
from dualsys.runtime.log import read_header, read_log
from dualsys.spec import WorldSpec
from dualsys.system1.foreign import ForeignPolicy
from dualsys.system1.policy import Policy
from dualsys.system1.senses import Senses

Place = tuple[int, int]  # epoch and tick, or epoch and request


class Compared(msgspec.Struct):
    """How far the answers of a replay are from those in the log.

    `furthest`: the largest difference of a number that is compared, as a share of its range (a
    command's axis) or as it is (codes, values); `first`: epoch and tick of the first answer that is
    further than the tolerance, and what differs there.
    """

    answers: int = 0
    equal: int = 0  # to the last bit
    furthest: float = 0.0
    beyond: int = 0  # answers further than the tolerance
    first: tuple[int, int, str] | None = None

    def take(self, place: Place, differences: Mapping[str, float], tolerance: float) -> None:
        """Take one answer's differences, by what differs."""
        self.answers += 1
        self.equal += not any(differences.values())
        worst = max(differences, key=lambda name: differences[name])
        self.furthest = max(self.furthest, differences[worst])
        if differences[worst] > tolerance:
            self.beyond += 1
            self.first = self.first or (*place, worst)


def replay(log: Path, system: int, tolerance: float, engines: list[str]) -> Compared:
    """Feed a log to `system` 1 or 2, on `engines` instead of the log's, if any are named.

    Raises `DualsysError` for a log without what is asked for, or of another program or protocol.
    """
    header = read_header(log)
    config = header.get("config", {})
    if not {"system1", "system2", "engine", "shield"} <= set(config):
        raise DualsysError(f"the header of {log} holds no configuration of a run; it is not of one")
    assembly.require_no_code(config, f"the header of {log}")
    if system not in (1, 2):
        raise DualsysError(f"system={system}: there are 1 and 2")
    if engines:
        key = "engine" if system == 1 else "system2"
        changed = {"names": engines} if system == 1 else {"engine": engines}
        config = {**config, key: {**config[key], **changed}}
    scenarios = header["scenarios"]
    found = replay_system1 if system == 1 else replay_system2
    compared = found(config, scenarios[0], log, tolerance)
    if not compared.answers:
        raise DualsysError(f"{log} holds no answer of System {system} to compare with")
    return compared


def replay_system1(config: dict[str, Any], scenario: str, log: Path, tolerance: float) -> Compared:
    """System 1's actions against those in the log."""
    from sim import registry

    spec = registry.spec_of(scenario)
    alone = assembly.silent(config)
    policy, _ = make_system1(alone, spec)
    senses = Senses(spec, config["shield"]["max_observation_age_s"])
    span = spec.action_high - spec.action_low
    compared, epoch = Compared(), -1
    for observation, action, told in _ticks(log):
        if observation.stamp.epoch != epoch:
            epoch = observation.stamp.epoch
            policy.reset(epoch)
        again = _answer(policy, senses, observation, told)
        place = observation.stamp.epoch, observation.stamp.tick
        compared.take(place, _between(again, action, span), tolerance)
    return compared


def _answer(
    policy: Policy | ForeignPolicy, senses: Senses, observation: Observation, told: Guidance | None
) -> Action:
    now_ns = observation.stamp.time_ns
    if senses.fault(observation) is not None:
        return policy.coast(observation.stamp, now_ns)
    return policy.act(observation, told, now_ns).action


def _between(again: Action, logged: Action, span: np.ndarray) -> dict[str, float]:
    if again.commands.shape != logged.commands.shape:
        return {"shape of the commands": float("inf")}
    away = np.abs(again.commands - logged.commands) / span
    return {
        "commands": float(away.max(initial=0.0)),
        "chunk_tick": float(again.chunk_tick != logged.chunk_tick),
        "uncertainty": _apart(again.uncertainty, logged.uncertainty),
    }


def _apart(one: float, two: float) -> float:
    """The distance of two numbers, as a share where they are large; two nan are equal."""
    if np.isnan(one) and np.isnan(two):
        return 0.0
    return float(abs(one - two) / max(1.0, abs(two)))


def _ticks(log: Path) -> Iterator[tuple[Observation, Action, Guidance | None]]:
    """Every observation that was answered, its answer, and the guidance that this one used.

    An answer stands behind its observation in the log, by System 1's latency; guidance stands
    before the answer that used it.
    """
    seen: dict[Place, Observation] = {}
    told: dict[tuple[int, int], Guidance] = {}
    for _, message in read_log(log):
        stamp = message.stamp
        if isinstance(message, Observation):
            seen[stamp.epoch, stamp.tick] = message
        elif isinstance(message, Guidance):
            told[stamp.epoch, stamp.sequence] = message
        elif isinstance(message, Action):
            observation = seen.pop((stamp.epoch, stamp.tick), None)
            if observation is not None:
                yield observation, message, told.get((stamp.epoch, message.guidance_sequence))


def replay_system2(config: dict[str, Any], scenario: str, log: Path, tolerance: float) -> Compared:
    """System 2's guidance against that in the log: the answers to a request one by one."""
    from sim import registry

    world = registry.make(scenario)
    spec: WorldSpec = world.world_spec
    plans = dict(world.plan_hints)
    world.close()
    planner = planners.make_planner(config, spec, plans)
    if planner is None:
        raise DualsysError(f"{log} is of a run without a System 2")
    messages = [message for _, message in read_log(log)]
    answers = _answers(messages)
    compared = Compared()
    for message in messages:
        if not isinstance(message, PlanRequest):
            continue
        place = message.stamp.epoch, message.request_id
        logged = answers.pop(place, [])
        if logged:
            again = list(planner.think(message, config["system2"]["budget"]))
            for one, two in zip(again, logged, strict=False):
                tick = message.stamp.epoch, message.stamp.tick
                compared.take(tick, _told_apart(one, two), tolerance)
    return compared


def _answers(messages: list[Message]) -> dict[Place, list[Guidance]]:
    """The guidance that came of each request, in order."""
    found: dict[Place, list[Guidance]] = defaultdict(list)
    for message in messages:
        if isinstance(message, Guidance):
            found[message.stamp.epoch, message.request_id].append(message)
    return found


def _told_apart(again: Guidance, logged: Guidance) -> dict[str, float]:
    if again.z.shape != logged.z.shape or again.candidate.shape != logged.candidate.shape:
        return {"shape of the guidance": float("inf")}
    return {
        "plan": float(again.plan != logged.plan),
        "code": float(np.abs(again.z - logged.z).max(initial=0.0)),
        "candidate": float(np.abs(again.candidate - logged.candidate).max(initial=0.0)),
        "value": _apart(again.value, logged.value),
    }
