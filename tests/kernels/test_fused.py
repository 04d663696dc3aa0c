"""The Triton kernels against their torch references; on a GPU, else in Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec
import numpy as np
import pytest
import torch

from dualsys.errors import DualsysError
from dualsys.system1.network import Context, Guided, NetworkConfig, System1Network
from dualsys.system1.sampler import Sampler, sampler_inputs
from kernels.fused import runs
from kernels.fused.flow import FusedFlow
from kernels.fused.preprocess import preprocess, preprocess_reference, segments_of
from kernels.fused.resources import ARCHITECTURES, KERNELS, Resources
from kernels.reference import example_arrays

pytest.importorskip("triton", reason="Triton is kept apart from the rest: see launch/setup.sh")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# Neither the horizon nor the actions nor the context fill what the matrix units take.
SIZES = NetworkConfig(
    (("eye", 32, 32, 3),), 5, 3, 4, 3, horizon=12, width=64, layers=2, heads=2, flow_steps=3,
    commit_ticks=6,
)  # fmt: skip


def network_of(config: NetworkConfig = SIZES) -> System1Network:
    torch.manual_seed(0)
    network = System1Network(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.25)  # some start at zero: let every part show
    return network.to(DEVICE).eval()


@pytest.fixture(scope="module")
def network() -> System1Network:
    return network_of()


@pytest.fixture(scope="module")
def context(network: System1Network) -> Context:
    draw = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8, generator=draw)
    told = Guided(*(torch.rand(1, size, generator=draw).to(DEVICE) for size in (4, 8, 3)))
    with torch.inference_mode():
        state = torch.randn(1, 5, generator=draw).to(DEVICE)
        return network.encode([image.to(DEVICE)], state, told)


def sources(count: int) -> torch.Tensor:
    return torch.randn(count, 12, 3, generator=torch.Generator().manual_seed(count)).to(DEVICE)


@pytest.mark.parametrize("committed", [None, 0, 4])
@pytest.mark.parametrize(
    ("dtype", "error"), [(torch.float32, 1e-4), (torch.float16, 2e-2)], ids=["float32", "float16"]
)
def test_the_fused_flow_ends_where_the_network_does(
    network: System1Network,
    context: Context,
    committed: int | None,
    dtype: torch.dtype,
    error: float,
) -> None:
    source = sources(3)
    assert runs(source), "or the reference would be compared with itself"
    fixed = None
    if committed is not None:
        fixed = (torch.arange(12, device=DEVICE) < committed).float()[None]
    with torch.inference_mode():
        wanted = network.flow(source, context, 3, fixed)
        found = FusedFlow(network, dtype)(source, context, fixed)
    assert (wanted - source).abs().max() > 1.0, "the flow goes somewhere"
    torch.testing.assert_close(found, wanted, atol=error, rtol=error)
    if committed:
        torch.testing.assert_close(found[:, :committed], source[:, :committed], atol=0, rtol=0)


def test_chunks_of_a_batch_do_not_meddle(network: System1Network, context: Context) -> None:
    fused, source = FusedFlow(network, torch.float32), sources(5)
    with torch.inference_mode():
        together = fused(source, context)
        alone = fused(source[3:4], context)
    torch.testing.assert_close(together[3:4], alone, atol=0, rtol=0)


def test_a_fused_sampler_is_the_sampler(network: System1Network) -> None:
    plain = {
        f"{what}_{how}": torch.full((size,), float(how == "std"), device=DEVICE)
        for what, size in (("state", 5), ("action", 3))
        for how in ("mean", "std")
    }
    sampler = Sampler(network, plain, samples=2).to(DEVICE).eval()
    arrays = example_arrays(sampler_inputs(sampler), 3)
    given = {name: torch.from_numpy(array).to(DEVICE) for name, array in arrays.items()}
    given["committed_ticks"] = torch.full((1, 1), 2.0, device=DEVICE)
    fused = sampler.fused()
    assert (sampler.precision, fused.precision) == ("float32", "float16")
    with torch.inference_mode():
        wanted, found = sampler(**given), fused.eval()(**given)
    assert wanted.keys() == found.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, atol=2e-2, rtol=2e-2)
    assert not torch.equal(found["chunk"], wanted["chunk"]), "it was another computation"


def test_without_triton_the_networks_own_flow_is_flown(
    network: System1Network, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with torch.inference_mode():
        found = FusedFlow(network)(sources(2), context)
        torch.testing.assert_close(found, network.flow(sources(2), context, 3), atol=0, rtol=0)


def test_what_the_kernel_does_not_take_is_refused() -> None:
    with pytest.raises(DualsysError, match="96 wide with 4 heads"):
        FusedFlow(System1Network(msgspec.structs.replace(SIZES, width=96, heads=4)))
    with pytest.raises(DualsysError, match=r"float16 or float32, torch\.bfloat16"):
        FusedFlow(System1Network(SIZES), torch.bfloat16)


def test_the_cost_is_that_of_the_formulas_it_is_told_with() -> None:
    sizes = NetworkConfig((("eye", 64, 64, 3),), 8, 2, 5, 12)
    cost = FusedFlow(System1Network(sizes)).cost(chunks=5, context=70)
    blocks, width, tokens = 3, 128, 16
    each = 12 * width**2 + 2 * width * (tokens + 70)
    assert cost.operations == 2 * 5 * 4 * blocks * tokens * each
    assert cost.bytes > 12 * blocks * width**2 * 2, "the weights alone, in half precision"
    assert cost.bytes < 1.5 * 12 * blocks * width**2 * 2


PICTURE = np.random.default_rng(0).integers(0, 256, (2, 24, 40, 3), np.uint8)
LINES = np.random.default_rng(1).uniform(0, 24, (3, 5, 2))
COLOURS = np.random.default_rng(2).uniform(0, 255, (3, 4, 3))
HALF = torch.full((3,), 127.5, device=DEVICE)


@pytest.mark.parametrize("size", [(24, 40), (48, 80), (17, 31)])
@pytest.mark.parametrize("lines", [0, 3])
def test_the_picture_is_what_torch_makes_of_it(size: tuple[int, int], lines: int) -> None:
    scale = (size[1] / 40, size[0] / 24)
    segments = torch.from_numpy(segments_of(LINES[:lines], COLOURS[:lines], scale)).to(DEVICE)
    picture = torch.from_numpy(PICTURE).to(DEVICE)
    found = preprocess(picture, segments, size, HALF, HALF)
    wanted = preprocess_reference(picture, segments, size, HALF, HALF)
    assert found.shape == (2, 3, *size)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.float(), wanted, atol=1e-3, rtol=1e-3)


def test_lines_lie_where_they_were_drawn_and_the_first_on_top() -> None:
    lines = np.array([[[2.0, 5.0], [30.0, 5.0]], [[2.0, 5.0], [30.0, 5.0]]])
    lines = np.concatenate([lines, np.full((1, 2, 2), np.nan)])  # behind the camera
    colours = np.array([[[255.0, 0, 0]], [[0, 255.0, 0]], [[0, 0, 255.0]]])
    segments = torch.from_numpy(segments_of(lines, colours)).to(DEVICE)
    assert len(segments) == 2
    plain = torch.zeros(3, device=DEVICE), torch.ones(3, device=DEVICE)
    grey = torch.full((1, 24, 40, 3), 9, dtype=torch.uint8, device=DEVICE)
    found = preprocess(grey, segments, (24, 40), *plain).float()
    on_line = found[0, :, 5, 2:31]
    torch.testing.assert_close(on_line, on_line.new_tensor([[255.0], [0], [0]]).expand(3, 29))
    found[0, :, 5, 2:31] = 9
    assert (found == 9).all(), "and nowhere else"


def test_a_network_input_at_its_own_size_is_only_normalised() -> None:
    picture = torch.from_numpy(PICTURE).to(DEVICE)
    none = torch.zeros(0, 7, device=DEVICE)
    found = preprocess(picture, none, (24, 40), HALF, HALF, torch.float32)
    torch.testing.assert_close(found, (picture.permute(0, 3, 1, 2).float() - 127.5) / 127.5)


def test_every_kernel_compiles_for_every_architecture_and_does_not_spill() -> None:
    """Without a GPU; in another process: here the interpreter stands in for the compiler."""
    told = subprocess.run(
        [sys.executable, "-m", "kernels.fused.resources"],
        env={**os.environ, "TRITON_INTERPRET": "0"}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    found = [msgspec.json.decode(line, type=Resources) for line in told.splitlines()]
    assert [(r.kernel, r.architecture) for r in found] == [
        (kernel, architecture) for kernel in KERNELS for architecture in ARCHITECTURES
    ]
    for taken in found:
        assert taken.spilled == 0, taken
        assert taken.registers <= {"flow": 255, "preprocess": 64}[taken.kernel], taken
        assert taken.shared <= {"flow": 64 << 10, "preprocess": 4 << 10}[taken.kernel], taken
