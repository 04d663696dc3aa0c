"""What the numbers of a configuration may be: one table for all commands.

A number is finite, from 0 to `MOST`, unless a row of `RANGES` says otherwise; what depends on other
numbers, or on what a checkpoint holds, is checked by who uses it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from dualsys.errors import DualsysError

MOST = 1e9


class Range(NamedTuple):
    """From `low` to `high`, `low` itself only where it is `closed`."""

    low: float = 0.0
    high: float = MOST
    closed: bool = True

    def holds(self, value: float) -> bool:
        """Whether a number lies in it; what is not finite never does."""
        return math.isfinite(value) and (
            self.low <= value <= self.high if self.closed else self.low < value <= self.high
        )

    def __str__(self) -> str:
        low = f"{self.low:g} or more" if self.closed else f"more than {self.low:g}"
        if self.high < MOST:
            low = f"{self.low:g} to {self.high:g}"
        return "any finite number" if self.low <= -MOST else low


AT_LEAST_0 = Range()
ABOVE_0 = Range(closed=False)
AT_LEAST_1 = Range(1)
SHARE = Range(0, 1)
ANY = Range(-MOST)

# By the name of the key, without the places in lists and tables that it goes through.
RANGES: dict[Range, str] = {
    ABOVE_0: """
        system1.replan_s system1.max_guidance_age_s system1.phase_limit_s
        trigger.period_s trigger.look_s trigger.horizon_s
        latency.system2_median_ms latency.system2_p99_ms system2.deadline_s
        shield.max_observation_age_s peer.max_mb
        ladder.engage_s ladder.gap_s ladder.ageing_s ladder.overdue_s ladder.stop_s
        supervisor.window_s supervisor.heartbeat_s supervisor.loading_s supervisor.stop_s
        link.frames_per_s recorder.queue_mb recorder.flush_s
        watch_s learning_rate max_plan_age_s heads.depth_step runtime.step_patience_s
    """,
    AT_LEAST_1: """
        workers disk_mb peer.ticks_per_call threads engine.threads system2.threads engine.opset
        system1.samples system1.depth_steps system1.depth_layers
        system2.votes system2.majority system2.max_tokens
        batch_size steps every_ticks advice_every_ticks rounds warm_up planner_rounds prompt_words
        samples trees leaf hidden ticks system
        network.flow_steps network.heads network.horizon network.layers
        network.width
        heads.code_levels heads.code_size heads.flow_steps heads.heads heads.knots heads.layers
        heads.read_tokens heads.width
        model.image_px model.key_value_heads model.patch_px model.positions model.shuffle
        model.text_heads model.text_layers model.text_width model.vision_heads
        model.vision_layers model.vision_width model.vocabulary
    """,
    SHARE: """
        trigger.rate noise.clean_share noise.burst_rate plan_dropout candidate_rate commit_rate
        own_plans average_decay gamma
    """,
    ANY: """
        trigger.threshold trigger.least_value trigger.price system1.depth_thresholds tick
    """,
}
_BY_NAME = {name: allowed for allowed, names in RANGES.items() for name in names.split()}


def check(command: str, config: dict[str, Any]) -> None:
    """Raise `DualsysError` for the first number of a command's configuration out of its range."""
    for key, name, value in _numbers(config):
        allowed = _BY_NAME.get(name, AT_LEAST_0)
        if not allowed.holds(value):
            raise DualsysError(f"`dualsys {command}`: {key} can be {allowed}, it is {value:g}")


def _numbers(node: Any, key: str = "", name: str = "") -> Iterator[tuple[str, str, float]]:
    """Every number: its key as one writes it, the name of its row, and its value."""
    if isinstance(node, dict):
        for part, below in node.items():
            dot = "." if key else ""
            yield from _numbers(below, f"{key}{dot}{part}", f"{name}{dot}{part}")
    elif isinstance(node, list):
        for index, below in enumerate(node):
            yield from _numbers(below, f"{key}[{index}]", name)
    elif isinstance(node, int | float) and not isinstance(node, bool):
        yield key, name, node
