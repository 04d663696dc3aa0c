"""What the uncertainty costs inside the tick: the pass with several samples against one alone.

Both engines take turns in one run, so that a busy machine slows both alike.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from dualsys.runtime import assembly
from dualsys.runtime.engines import make_engine
from dualsys.spec import WorldSpec
from dualsys.trigger.rules import Trigger
from dualsys.trigger.situation import Situation
from kernels.engine import Engine

WARM_UP = 10


def uncertainty_cost(
    config: assembly.Config, spec: WorldSpec, trigger: Trigger, rounds: int
) -> dict[str, Any]:
    """Medians [ms] of System 1's pass with one sample, with those of `config`, and of a decision.

    config: of a run, as `dualsys eval` keeps it.
    """
    wanted = config["system1"]["samples"]
    engines = [
        make_engine({**config, "system1": {**config["system1"], "samples": n}}, spec)
        for n in (1, wanted)
    ]
    times: list[list[int]] = [[], []]
    for number in range(WARM_UP + rounds):
        for choice, taken in zip(engines, times, strict=True):
            elapsed = _pass_ns(choice.engine, number)
            if number >= WARM_UP:
                taken.append(elapsed)
    one, all_ = (np.array(taken) for taken in times)
    return {
        "engine": engines[1].engine.name,
        "samples": wanted,
        "rounds": rounds,
        "one_sample_ms": float(np.median(one)) / 1e6,
        "samples_ms": float(np.median(all_)) / 1e6,
        "ratio": float(np.median(all_ / one)),
        "decision_ms": _decision_ms(trigger, rounds),
    }


def _pass_ns(engine: Engine, number: int) -> int:
    rng = np.random.default_rng(number)
    arrays = {name: np.zeros(spec.shape, spec.dtype) for name, spec in engine.inputs.items()}
    arrays["noise"][:] = rng.standard_normal(arrays["noise"].shape, np.float32)
    start = time.perf_counter_ns()
    engine.run(arrays)
    return time.perf_counter_ns() - start


def _decision_ms(trigger: Trigger, rounds: int) -> float:
    trigger.reset(0)
    times = []
    for tick, value in enumerate(np.random.default_rng(0).normal(size=rounds)):
        start = time.perf_counter_ns()
        trigger.decide(tick, Situation(float(value)))
        times.append(time.perf_counter_ns() - start)
    return float(np.median(times)) / 1e6
