"""The pass in two parts is the pass in one, and may take other numbers of steps."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch

from dualsys.errors import DualsysError
from dualsys.system1.depth import Depth, Effort, Pace
from dualsys.system1.exits import Exit
from dualsys.system1.network import NetworkConfig, System1Network
from dualsys.system1.parts import FlowStep, parts, step_inputs
from dualsys.system1.sampler import Sampler, sampler_inputs
from dualsys.system1.stepped import SteppedEngine
from dualsys.system1.uncertainty import laplace_entropy
from kernels.engine import Engine
from kernels.reference import example_arrays
from kernels.torch_engine import TorchEngine
from tests.engines import choice_of

LAYERS = 3
CONFIG = NetworkConfig((("eye", 16, 16, 3), ("hand", 16, 16, 3)), 5, 2, 4, 3, horizon=8, width=32,
                       layers=LAYERS, heads=2, keypoints=4, token_grid=2,
                       commit_ticks=3)  # fmt: skip


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


def stepped(
    sampler: Sampler, name: str, steps: int | None = None, early: Exit | None = None
) -> SteppedEngine:
    encoder_module, inputs, _ = parts(sampler)
    encoder = choice_of([name], encoder_module, inputs).engine
    step_module = FlowStep(sampler, early)
    step = choice_of([name], step_module, step_inputs(encoder.outputs)).engine
    layers = LAYERS if early is None else early.layers
    depth = Depth("fixed", (Effort(steps or sampler.network.config.flow_steps, layers),))
    return SteppedEngine(encoder, {layers: step}, depth, sampler.samples)


def efforts(steps: tuple[int, ...]) -> tuple[Effort, ...]:
    return tuple(Effort(count, LAYERS) for count in steps)


def exit_behind(layers: int) -> Exit:
    torch.manual_seed(layers)
    return Exit(layers, CONFIG.width, 16, CONFIG.action_size).eval()


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
    engine._depth = Depth("time", efforts((1, 2, 4, 10)))
    arrays = example_arrays(engine.inputs, 1)
    for left in (None, 10**12, -1, 0):
        engine.run_within(arrays, left)
    assert engine.taken == {Effort(10, LAYERS): 2, Effort(1, LAYERS): 2}
    for _ in range(100):
        engine._pace.took(LAYERS, 1_000_000_000)
    engine.run_within(arrays, 3_900_000_000)
    assert engine.taken[Effort(2, LAYERS)] == 1, "a step has taken a second, four would be late"


def test_a_pass_that_is_unsure_takes_more_steps() -> None:
    engine = stepped(sampler_of(1), "torch")
    arrays = example_arrays(engine.inputs, 1)
    entropy = laplace_entropy(engine.run(arrays)["scale"][0])
    for moved, count in ((0.1, 2), (-0.1, 4)):
        engine._depth = Depth("unsure", efforts((2, 4)), (entropy + moved,))
        engine.taken.clear()
        engine.run(arrays)
        assert engine.taken == {Effort(count, LAYERS): 1}


def test_parts_of_two_precisions_are_not_put_together() -> None:
    sampler = sampler_of(1)
    encoder_module, inputs, step_module = parts(sampler)
    encoder = TorchEngine(encoder_module, inputs)
    step = TorchEngine(step_module, step_inputs(encoder.outputs))
    step.precision = "float16"
    with pytest.raises(DualsysError, match="float32, the flow step's in float16"):
        SteppedEngine(encoder, {LAYERS: step}, Depth("fixed", efforts((4,))), 1)


@pytest.mark.parametrize("name", ["torch", "onnxruntime"])
def test_an_early_exit_makes_its_own_flow_and_keeps_what_is_committed(name: str) -> None:
    sampler, early = sampler_of(2), exit_behind(1)
    engine = stepped(sampler, name, 4, early)
    arrays = example_arrays(engine.inputs, 1)
    arrays["committed_ticks"][:] = 2
    found = engine.run(arrays)["chunk"]
    given = {key: torch.from_numpy(array) for key, array in arrays.items()}
    with torch.inference_mode():
        context, (source, fixed) = sampler.encode(given), sampler.start(given)
        assert fixed is not None
        x, network = source, sampler.network
        for step in range(4):
            tau = torch.full((2,), step / 4)
            velocity = network.velocity(x, tau, context, fixed.expand(2, -1), early)
            x = x + (1 - fixed)[..., None] * velocity / 4
        wanted = x[:1] * sampler.get_buffer("action_std") + sampler.get_buffer("action_mean")
    np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found[:, :2], arrays["committed"][:, :2], atol=1e-5)
    assert np.abs(found - stepped(sampler, name, 4).run(arrays)["chunk"]).max() > 1e-3


def test_an_early_exit_runs_no_block_behind_it() -> None:
    sampler = sampler_of(1)
    run: list[int] = []
    for number, block in enumerate(sampler.network.blocks, 1):
        block.register_forward_hook(lambda *_, n=number: run.append(n))
    encoder_module, inputs, _ = parts(sampler)
    specs = step_inputs(TorchEngine(encoder_module, inputs).outputs)
    for layers in (1, 2):
        engine = TorchEngine(FlowStep(sampler, exit_behind(layers)), specs)
        run.clear()
        engine.run(example_arrays(specs))
        assert run == list(range(1, layers + 1))


def test_a_pass_takes_fewer_blocks_where_all_would_be_late() -> None:
    sampler, early = sampler_of(1), exit_behind(1)
    encoder_module, inputs, whole = parts(sampler)
    encoder = TorchEngine(encoder_module, inputs)
    specs = step_inputs(encoder.outputs)
    flows = {LAYERS: TorchEngine(whole, specs), 1: TorchEngine(FlowStep(sampler, early), specs)}
    choices = (Effort(1, 1), Effort(1, LAYERS), Effort(4, LAYERS))
    engine = SteppedEngine(encoder, flows, Depth("time", choices), 1)
    arrays = example_arrays(engine.inputs, 1)
    for left in (-1, 2_900_000_000, 11_900_000_000, 13_000_000_000):
        engine._pace = Pace({1: 1_000_000_000, LAYERS: 3_000_000_000})
        engine.run_within(arrays, left)
    assert engine.taken == {Effort(1, 1): 2, Effort(1, LAYERS): 1, Effort(4, LAYERS): 1}
