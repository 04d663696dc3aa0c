"""A host of a policy that can be told by its answers, and a port for it."""

from __future__ import annotations

import socket
import time
from typing import Any

import numpy as np

from dualsys.interop.host import Host
from dualsys.interop.naming import Naming, PeerNames
from dualsys.messages import Guidance, Observation
from dualsys.system1.foreign import ForeignPolicy
from dualsys.system1.tick import Tick
from dualsys.system1.timing import PolicyConfig
from dualsys.trigger.rules import NeverTrigger
from sim.driving.spec import SPEC


class Echo:
    """Accelerates by its speed, for as many ticks as there are; steers by the tick."""

    slow_s = 0.0

    def reset(self, epoch: int) -> None:
        self.epoch = epoch

    def act(self, observation: Observation, guidance: Guidance | None, now_ns: int) -> Tick:
        time.sleep(self.slow_s)
        steering = 0.01 * observation.stamp.tick
        commands = np.tile([observation.state[0], steering], (8, 1))
        return Tick.of_commands(observation, commands, now_ns)


def host(protocol: str, own: Any = None, ticks_per_call: int = 1) -> Host:
    """A host of `Echo` under a protocol's own names."""
    naming = Naming.of(SPEC, protocol, PeerNames(), whole_state=True)
    config = PolicyConfig.in_seconds(
        15.0, replan_s=0.1, blend_s=0.0, max_guidance_age_s=1.0, phase_limit_s=1.0,
        noise_scale=0.0, told_ticks=0, spread_weight=0.0, commit_ticks=1, budget="none",
    )  # fmt: skip
    policy = ForeignPolicy(SPEC, own or Echo(), "echo", NeverTrigger(), config)
    return Host(SPEC, naming, policy, None, ticks_per_call)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
