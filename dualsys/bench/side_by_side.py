"""Engines timed beside torch in one run: which are usable, their runs, and the machine's stalls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from dualsys.clock import MonotonicClock, StallDetector
from dualsys.errors import DualsysError
from kernels import parity
from kernels.cache import Prepared
from kernels.choose import opened
from kernels.engine import Engine
from kernels.network import Arrays
from kernels.timing import Spans, Work, take_turns

Config = dict[str, Any]
REFERENCE = "torch"
Step = Callable[[], None]
Progress = Callable[[str, int], None]  # what is timed, of how many rounds; one more is done


def _nothing() -> None:
    pass


def usable(
    prepared: Prepared, names: list[str], threads: int
) -> tuple[dict[str, Engine], dict[str, str]]:
    """Engines that agree with torch, the reference always among them; and why others are left."""
    engines: dict[str, Engine] = {}
    refused: dict[str, str] = {}
    for name in dict.fromkeys([REFERENCE, *names]):
        try:
            engine = opened(prepared, name, threads, build=True)
        except DualsysError as error:
            refused[name] = str(error)
            continue
        fault = parity.compare(engine, prepared.reference).fault(engine.precision)
        if fault is None:
            engines[name] = engine
        else:
            refused[name] = fault
    return engines, refused


def timed(
    works: dict[str, Work],
    rounds: int,
    warm_up: int | None = None,
    then: Step = _nothing,
    caches: str = "cold",
) -> tuple[dict[str, Spans], list[tuple[int, int]]]:
    """Spans of the works by name, and when the machine stood still meanwhile [ns].

    Without a number of rounds to warm up, it is a tenth. `then` is called after each round.
    `caches` says how every work finds them: cold or warm.
    """
    warm_up = max(1, rounds // 10) if warm_up is None else warm_up
    stalls = StallDetector(MonotonicClock())
    stalls.start()
    try:
        spans = take_turns(works, rounds, warm_up, then, caches=caches)
    finally:
        met = stalls.stop()
    return spans, met


def passes(engine: Engine, inputs: list[Arrays], times: int = 1) -> Work:
    """Runs of an engine, one input after the other."""

    def work(number: int) -> None:
        for _ in range(times):
            engine.run(inputs[number % len(inputs)])

    return work


def tables(config: Config, one: Callable[[int, int], dict[str, Any]]) -> list[dict[str, Any]]:
    """One table for each number of threads and of samples."""
    found = []
    for threads in config["threads"]:
        torch.set_num_threads(threads)
        found += [one(threads, samples) for samples in config["samples"]]
    return found
