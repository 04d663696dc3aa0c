"""Puts together all that drives a scenario in lockstep: both systems, their link and the world."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dualsys.runtime import assembly, drivers, planners
from dualsys.runtime.engines import NETWORK, make_engine
from dualsys.runtime.episode import EpisodeRecord
from dualsys.runtime.lockstep import AnyPolicy, Lockstep
from dualsys.runtime.log import LogWriter, NoLog
from dualsys.runtime.peers import PeerPolicy
from dualsys.spec import WorldSpec
from dualsys.whatif.oracle import OracleTrigger, check_oracle, make_oracle
from kernels.engine import Engine

Config = dict[str, Any]


class Rig:
    """All that drives one scenario, put together once for several episodes."""

    def __init__(
        self,
        config: Config,
        world: Any,
        scenario: str,
        watch: Callable[[Engine], Engine] = lambda engine: engine,
    ) -> None:
        """`scenario` is the name of `world`: what is drawn at random belongs to it.

        `watch` may put something between System 1 and its engine, as to record what passes.
        """
        from sim import registry

        spec = world.world_spec
        self.period_ns, driver = spec.period_ns, config["system1"]["driver"]
        planner = planners.make_planner(config, spec, dict(world.plan_hints))
        self.planner_engine = {} if planner is None else dict(planner.engine)
        oracle: OracleTrigger | None = None
        if driver in drivers.ENGINED:
            choice = make_engine(config, spec)
            self.engine = choice.told
            if config["trigger"]["name"] == "oracle" and driver == NETWORK:
                oracle = make_oracle(config, world, choice.engine, planner)
            rule = oracle or assembly.make_trigger(config, spec, scenario)
            engine = watch(choice.engine)
            policy: AnyPolicy = assembly.make_policy(config, spec, engine, rule)
        elif driver in registry.PEERS:
            self.engine = {"used": driver, "refused": {}}
            policy = PeerPolicy(
                spec, registry.peer_for(world, driver, config["system1"]["checkpoint"])
            )
        else:
            policy, self.engine = drivers.make_foreign(config, spec, scenario)
        policy.warm_up()
        self.shield = assembly.make_shield(config, spec)
        self.lockstep = Lockstep(
            world,
            policy,
            planner,
            self.shield,
            assembly.make_latency(config, spec, scenario),
            assembly.session_of(config),
            config["system2"]["budget"],
            registry.expert_for(world) if config["runtime"]["labels"] else None,
            round(config["runtime"]["episode_s"] * spec.control_rate_hz),
            oracle,
        )

    def run(self, epoch: int, seed: int, log: Path | None = None) -> EpisodeRecord:
        """Run one episode; its messages go to the file `log`, which appears whole or not at all."""
        if log is None:
            return self.lockstep.run(epoch, seed, NoLog())
        partial = log.with_suffix(".partial")
        with LogWriter(partial, {}) as writer:
            record = self.lockstep.run(epoch, seed, writer)
        partial.replace(log)
        return record


def check_trigger(config: Config, spec: WorldSpec) -> None:
    """Raise `DualsysError` for a trigger that lockstep could not make for these worlds."""
    if config["trigger"]["name"] == "oracle" and config["system1"]["driver"] == NETWORK:
        check_oracle(config, spec)
    else:
        assembly.make_trigger(config, spec)


@contextmanager
def rig(
    config: Config,
    scenario: str,
    watch: Callable[[Engine], Engine] = lambda engine: engine,
) -> Iterator[Rig]:
    """A rig for a scenario of the registry; for worker processes."""
    import torch

    from sim import registry

    torch.set_num_threads(1)  # sums in another order would change the last bit
    world = registry.make_stepped(scenario)
    try:
        yield Rig(config, world, scenario, watch)
    finally:
        world.close()
