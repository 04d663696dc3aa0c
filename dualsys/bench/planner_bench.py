"""How long a planner of a published size takes: vision tower, prefix, candidates, answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dualsys.bench.side_by_side import Progress, timed
from dualsys.device import device_of
from dualsys.errors import DualsysError, UnknownNameError
from dualsys.spec import WorldSpec
from dualsys.system2.heads import Heads
from dualsys.system2.published import PUBLISHED, PublishedPlanner
from dualsys.system2.sizes import HeadsConfig
from kernels.graph_engine import captured
from kernels.timing import Work, told

MODES = ("eager", "compiled", "cuda-graph")
SHORT, FULL = 8, 64  # tokens of an answer
STRIDE_TICKS = 4
Stage = Callable[[], Any]


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
    rounds = config["planner_rounds"]
    for stage, plain in stages.items():
        works: dict[str, Work] = {}
        for mode in dict.fromkeys(["eager", *config["planner_modes"]]):
            try:
                works[mode] = _work(plain, mode, device)
            except (DualsysError, RuntimeError) as error:
                refused[f"{stage}, {mode}"] = str(error).strip().splitlines()[0]
        spans, met = timed(works, rounds, 1, partial(progress, f"{name}, {stage}", rounds + 1))
        rows[stage] = {mode: told(mine, spans["eager"], met) for mode, mine in spans.items()}
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


def stages_of(planner: PublishedPlanner, spec: WorldSpec, device: str) -> dict[str, Stage]:
    """What is timed; the answers go on from one prefix, which they leave as it was."""
    read = planner.read()
    sizes = HeadsConfig(
        text_width=planner.text_width,
        state_size=len(spec.state),
        action_size=len(spec.action),
        plans=len(spec.plans),
        stride_ticks=STRIDE_TICKS,
    )
    heads = Heads(sizes).to(device).eval()
    hidden = read.hidden_states[-1].float()
    mask = torch.ones(hidden.shape[:2], dtype=torch.bool, device=device)
    state = torch.zeros(1, sizes.state_size, device=device)
    plan = torch.zeros(1, sizes.plans, device=device)
    noise = torch.randn(1, sizes.knots, sizes.action_size, device=device)

    def candidates(count: int) -> Tensor:
        tokens = heads.readout(hidden, mask, state, plan)
        found: Tensor = heads.value(tokens, heads.candidates.ladder(noise, tokens, count))
        return found

    return {
        "vision tower": planner.see,
        "prefix": planner.read,
        "1 candidates": lambda: candidates(1),
        "5 candidates": lambda: candidates(5),
        f"answer of {SHORT} tokens": lambda: planner.say(read, SHORT),
        f"answer of {FULL} tokens": lambda: planner.say(read, FULL),
    }


def _work(plain: Stage, mode: str, device: str) -> Work:
    """The stage in a mode, ready to be timed; it waits for the device."""
    on_gpu = device.startswith("cuda")
    if mode == "eager":
        run = plain
    elif mode == "compiled":
        run = torch.compile(plain, mode="reduce-overhead" if on_gpu else None)
    elif not on_gpu:
        raise DualsysError("CUDA graphs need a GPU, there is none")
    else:
        run = captured(plain)
    run()  # compiles, and takes its memory, before anything is timed

    def work(number: int) -> None:
        run()
        if on_gpu:
            torch.cuda.synchronize()

    return work


def _device_name(device: str) -> str:
    return str(torch.cuda.get_device_name(device)) if device.startswith("cuda") else "processor"
