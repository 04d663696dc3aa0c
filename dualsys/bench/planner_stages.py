"""What is timed of a planner of a published size, and the modules that engines are made of."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dualsys.spec import WorldSpec
from dualsys.system2.heads import Heads
from dualsys.system2.parts import Candidates, Readout, exported
from dualsys.system2.published import PublishedPlanner
from dualsys.system2.sizes import HeadsConfig
from kernels.engine import TensorSpec
from kernels.network import Made

SHORT, FULL = 8, 64  # tokens of an answer
STRIDE_TICKS = 4


@dataclass(frozen=True)
class Stage:
    """`run` does it in torch, on the planner's device.

    parts: the modules that do the same one after the other, with the shapes of their inputs; none
    where torch alone does it. Raises `DualsysError` for a model that is not exported.
    """

    run: Callable[[], Any]
    parts: Callable[[], list[Made]] = list


def stages_of(planner: PublishedPlanner, spec: WorldSpec, device: str) -> dict[str, Stage]:
    """The stages by name; the answers go on from one prefix, which they leave as it was."""
    read = planner.read()
    heads = Heads(_sizes(planner, spec)).to(device).eval()

    @functools.cache
    def model_parts() -> list[Made]:
        vision, reading = exported(planner.model)
        seen = TensorSpec(tuple(planner.pictures["pixel_values"].shape[1:]), "float32")
        length = TensorSpec((1, planner.prompt.shape[1], planner.text_width), "float32")
        return [(vision, {"pixels": seen}), (reading, {"embedded": length})]

    return {
        "vision tower": Stage(planner.see, lambda: model_parts()[:1]),
        "prefix": Stage(planner.read, model_parts),
        **{
            f"{count} candidates": _candidates(heads, read.hidden_states[-1].float(), count)
            for count in (1, 5)
        },
        f"answer of {SHORT} tokens": Stage(lambda: planner.say(read, SHORT)),
        f"answer of {FULL} tokens": Stage(lambda: planner.say(read, FULL)),
    }


def _sizes(planner: PublishedPlanner, spec: WorldSpec) -> HeadsConfig:
    return HeadsConfig(
        text_width=planner.text_width,
        state_size=len(spec.state),
        action_size=len(spec.action),
        plans=len(spec.plans),
        stride_ticks=STRIDE_TICKS,
    )


def _candidates(heads: Heads, hidden: Tensor, count: int) -> Stage:
    """So many candidates and their values, from a prompt's hidden states (1, L, W)."""
    sizes, device = heads.config, hidden.device
    mask = torch.ones(hidden.shape[:2], dtype=torch.bool, device=device)
    state = torch.zeros(1, sizes.state_size, device=device)
    plan = torch.zeros(1, sizes.plans, device=device)
    noise = torch.randn(1, sizes.knots, sizes.action_size, device=device)
    tokens = heads.readout(hidden, mask, state, plan)

    def run() -> Tensor:
        read = heads.readout(hidden, mask, state, plan)
        found: Tensor = heads.value(read, heads.candidates.ladder(noise, read, count))
        return found

    def parts() -> list[Made]:
        def floats(tensor: Tensor) -> TensorSpec:
            return TensorSpec(tuple(tensor.shape), "float32")

        given = {"hidden": hidden, "present": mask, "state": state, "plan": plan}
        plain = _on_processor(heads)
        return [
            (Readout(plain).eval(), {name: floats(tensor) for name, tensor in given.items()}),
            (Candidates(plain, count).eval(), {"tokens": floats(tokens), "noise": floats(noise)}),
        ]

    return Stage(run, parts)


@functools.lru_cache(maxsize=1)
def _on_processor(heads: Heads) -> Heads:
    plain = Heads(heads.config).eval()
    plain.load_state_dict(heads.state_dict())
    return plain
