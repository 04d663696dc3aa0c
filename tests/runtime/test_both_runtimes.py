"""One scenario in both runtimes with the same latencies: the same drive, within bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dualsys.bench.evaluate import evaluate
from dualsys.config import load
from dualsys.messages import Observation
from dualsys.runtime.log import read_log
from dualsys.runtime.realtime import realtime

SCENARIO = "driving/merge"


def configuration(out: Path, checkpoint: Path, *words: str) -> dict[str, Any]:
    # Without noise in the flow's source the two differ by timing alone.
    fixed = ["system1.noise_scale=0", "trigger.period_s=0.5", f"system1.checkpoint={checkpoint}"]
    fixed.append("system2=scripted")
    return load("eval", [*fixed, f"out={out}", *words])


def states(log: Path) -> np.ndarray:
    rows = [m.state for _, m in read_log(log) if isinstance(m, Observation)]
    return np.stack(rows)


def test_lockstep_with_the_recorded_latencies_drives_as_realtime_did(
    untrained: Path, tmp_path: Path
) -> None:
    clock, virtual = tmp_path / "realtime", tmp_path / "lockstep"
    real = realtime(configuration(clock, untrained, "runtime=realtime"), SCENARIO, [3])
    trace = ["latency=trace", f"latency.trace={clock / 'latency.json'}"]
    same = evaluate(configuration(virtual, untrained, *trace), [SCENARIO], [3], lambda _: None)
    assert real["calls"] > 3
    ours, theirs = states(clock / "log.mcap"), states(virtual / "log.mcap")
    ticks = min(len(ours), len(theirs))
    assert abs(len(ours) - len(theirs)) <= 3
    difference = np.abs(ours[:ticks] - theirs[:ticks])
    # Medians: a stall of the machine may cost some ticks their command, in realtime alone.
    speed, _, _, offset, heading = np.median(difference, 0)[:5]
    assert speed < 0.3, "m/s"
    assert offset < 0.3, "m"
    assert heading < 0.05, "rad"
    assert abs(real["calls"] - same["calls"]) <= 2
