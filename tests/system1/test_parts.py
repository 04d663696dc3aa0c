"""The pass in two parts is the pass in one, and may take other numbers of steps."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch

from dualsys.errors import DualsysError
from dualsys.system1.depth import Depth
from dualsys.system1.network import NetworkConfig, System1Network
from dualsys.system1.parts import parts, step_inputs
from dualsys.system1.sampler import Sampler, sampler_inputs
from dualsys.system1.stepped import SteppedEngine
from dualsys.system1.uncertainty import laplace_entropy
from kernels.engine import Engine
from kernels.reference import example_arrays
from kernels.torch_engine import TorchEngine
from tests.engines import choice_of

CONFIG = NetworkConfig((("eye", 16, 16, 3), ("hand", 16, 16, 3)), 5, 2, 4, 3, horizon=8, width=32,
                       layers=2, heads=2, keypoints=4, token_grid=2, commit_ticks=3)  # fmt: skip


def sampler_of(samples: int, commit_ticks: int = 3) -> Sampler:
    torch.manual_seed(0)
    network = System1Network(msgspec.structs.replace(CONFIG, commit_ticks=commit_ticks))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    draw = torch.rand(2, 5), torch.rand(2, 2)
    names = ("state_mean", "state_std"), ("action_mean", "action_std")
    norm = {n: row + 0.1 for two, rows in zip(names, draw, strict=True)
            for n, row in zip(two, rows, strict=True)}  # fmt: skip
    return Sampler(network, norm, samples).eval()


def stepped(sampler: Sampler, name: str, steps: int | None = None) -> SteppedEngine:
    encoder_module, inputs, step_module = parts(sampler)
    encoder = choice_of([name], encoder_module, inputs).engine
    step = choice_of([name], step_module, step_inputs(encoder.outputs)).engine
    depth = Depth("fixed", (steps or sampler.network.config.flow_steps,))
    return SteppedEngine(encoder, step, depth, sampler.samples)


@pytest.mark.parametrize("commit_ticks", [0, 3])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("name", ["torch", "onnxruntime"])
def test_both_parts_together_are_the_whole(name: str, samples: int, commit_ticks: int) -> None:
    sampler = sampler_of(samples, commit_ticks)
    whole: Engine = TorchEngine(sampler, sampler_inputs(sampler))
    engine = stepped(sampler, name)
    assert dict(engine.inputs) == dict(whole.inputs)
    assert dict(engine.outputs) == dict(whole.outputs)
    for seed, use in ((1, 0.0), (2, 1.0)):
        arrays = example_arrays(engine.inputs, seed)
        arrays["use_candidate"][:] = use
        if commit_ticks:
            arrays["committed_ticks"][:] = 2
        wanted, found = whole.run(arrays), engine.run(arrays)
        assert wanted.keys() == found.keys()
        for key, array in wanted.items():
            np.testing.assert_allclose(found[key], array, rtol=1e-4, atol=1e-4, err_msg=key)


def test_a_tick_may_take_more_or_fewer_steps_and_committed_actions_stay() -> None:
    arrays = example_arrays(stepped(sampler_of(1), "torch").inputs, 1)
    arrays["committed_ticks"][:] = 2
    chunks = {
        n: stepped(sampler_of(1), "torch", n).run(arrays)["chunk"].copy() for n in (1, 2, 4, 32, 64)
    }
    away = {n: np.abs(chunk - chunks[64]).max() for n, chunk in chunks.items()}
    assert away[1] > away[4] > away[32] > 0, "the more steps, the nearer to the flow's end"
    for chunk in chunks.values():
        np.testing.assert_allclose(chunk[:, :2], arrays["committed"][:, :2], atol=1e-5)


def test_a_pass_takes_as_many_steps_as_there_is_time_for() -> None:
    engine = stepped(sampler_of(1), "torch")
    engine._depth = Depth("time", (1, 2, 4, 10))
    arrays = example_arrays(engine.inputs, 1)
    for left in (None, 10**12, -1, 0):
        engine.run_within(arrays, left)
    assert engine.taken == {10: 2, 1: 2}
    engine._recent_ns.extend([1_000_000_000] * 100)
    engine.run_within(arrays, 3_900_000_000)
    assert engine.taken[2] == 1, "a step has taken a second, and four would be late"


def test_a_pass_that_is_unsure_takes_more_steps() -> None:
    engine = stepped(sampler_of(1), "torch")
    arrays = example_arrays(engine.inputs, 1)
    entropy = laplace_entropy(engine.run(arrays)["scale"][0])
    for moved, count in ((0.1, 2), (-0.1, 4)):
        engine._depth = Depth("unsure", (2, 4), (entropy + moved,))
        engine.taken.clear()
        engine.run(arrays)
        assert engine.taken == {count: 1}


def test_parts_of_two_precisions_are_not_put_together() -> None:
    sampler = sampler_of(1)
    encoder_module, inputs, step_module = parts(sampler)
    encoder = TorchEngine(encoder_module, inputs)
    step = TorchEngine(step_module, step_inputs(encoder.outputs))
    step.precision = "float16"
    with pytest.raises(DualsysError, match="float32, the flow step's in float16"):
        SteppedEngine(encoder, step, Depth("fixed", (4,)), 1)
