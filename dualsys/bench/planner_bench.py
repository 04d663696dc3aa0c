"""How long a planner of a published size takes: vision tower, prefix, candidates, answers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from dualsys.bench.planner_stages import Stage, stages_of
from dualsys.bench.side_by_side import Progress, timed
from dualsys.device import device_of
from dualsys.errors import DualsysError, UnknownNameError
from dualsys.spec import WorldSpec
from dualsys.system2.published import PUBLISHED, PublishedPlanner
from kernels.cache import Prepared
from kernels.choose import built, opened
from kernels.engine import Engine
from kernels.graph_engine import captured
from kernels.network import Made, Network
from kernels.reference import example_arrays
from kernels.registry import ENGINES, RECIPES
from kernels.timing import Work, told

MODES = ("eager", "compiled", "cuda-graph", *ENGINES)


def check(config: dict[str, Any]) -> None:
    """Raise `UnknownNameError` for planners and modes that nothing is known by."""
    for name in config["planners"]:
        if name not in PUBLISHED:
            raise UnknownNameError("planner", name, PUBLISHED)
    for mode in config["planner_modes"]:
        if mode not in MODES:
            raise UnknownNameError("planner mode", mode, MODES)
    device_of(config["planner_device"])


@torch.inference_mode()
def bench_planner(
    name: str, config: dict[str, Any], spec: WorldSpec, progress: Progress
) -> dict[str, Any]:
    """Every stage in every mode that works here; those that do not are told with the reason."""
    device = device_of(config["planner_device"])
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    planner = PublishedPlanner(name, device, dtype, config["prompt_words"])
    stages = stages_of(planner, spec, device)
    rows: dict[str, dict[str, Any]] = {}
    refused: dict[str, str] = {}
    rounds, engines = config["planner_rounds"], Engines()
    for what, stage in stages.items():
        works: dict[str, Work] = {}
        for mode in dict.fromkeys(["eager", *config["planner_modes"]]):
            try:
                if mode in ENGINES:
                    works[mode] = engines.work(stage, mode)
                else:
                    works[mode] = _work(stage, mode, device)
            except (DualsysError, RuntimeError) as error:
                refused[f"{what}, {mode}"] = str(error).strip().splitlines()[0]
        spans, met = timed(works, rounds, 1, partial(progress, f"{name}, {what}", rounds + 1))
        rows[what] = {mode: told(mine, spans["eager"], met) for mode, mine in spans.items()}
    one, five = (rows[f"{n} candidates"]["eager"]["p50_ms"] for n in (1, 5))
    prefix = min(row["p50_ms"] for row in rows["prefix"].values())
    return {
        "planner": name,
        "parameters": planner.parameters,
        "device": _device_name(device),
        "computes_in": str(dtype).removeprefix("torch."),
        "prompt_tokens": planner.prompt.shape[1],
        "stages": rows,
        "refused": refused,
        "five_over_one": five / one,
        "prefix_hz": 1e3 / prefix,
    }


class Engines:
    """Stages by engines instead of torch, each from and to host memory.

    Their speed alone is asked: weights are random, and nothing acts on what they say.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[torch.nn.Module, str], Engine] = {}

    def work(self, stage: Stage, name: str) -> Work:
        """The stage's parts one after the other, ready to be timed."""
        with torch.inference_mode(False):  # an export knows nothing of it
            made = stage.parts()
            if not made:
                raise DualsysError("answers are decoded in torch")
            engines = [self._engine(part, name) for part in made]
        given = [example_arrays(specs) for _, specs in made]

        def work(number: int) -> None:
            for engine, arrays in zip(engines, given, strict=True):
                engine.run(arrays)

        return work

    def _engine(self, part: Made, name: str) -> Engine:
        key = (part[0], name)
        if key not in self._known:
            with TemporaryDirectory() as folder:
                prepared = Prepared(Path(folder), Network({}, lambda: part, list))
                if name in RECIPES:
                    built(prepared, name, torch.get_num_threads())
                self._known[key] = opened(prepared, name, torch.get_num_threads(), build=False)
        return self._known[key]


def _work(stage: Stage, mode: str, device: str) -> Work:
    """The stage in torch in a mode, ready to be timed; it waits for the device."""
    on_gpu = device.startswith("cuda")
    if mode == "eager":
        run = stage.run
    elif mode == "compiled":
        run = torch.compile(stage.run, mode="reduce-overhead" if on_gpu else None)
    elif not on_gpu:
        raise DualsysError("CUDA graphs need a GPU, there is none")
    else:
        run = captured(stage.run)
    run()  # compiles, and takes its memory, before anything is timed

    def work(number: int) -> None:
        run()
        if on_gpu:
            torch.cuda.synchronize()

    return work


def _device_name(device: str) -> str:
    return str(torch.cuda.get_device_name(device)) if device.startswith("cuda") else "processor"
