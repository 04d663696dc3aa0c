"""The kernels on a GPU: how long they take, and how far that is from what the machine allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from dualsys.system1.network import Guided, System1Network
from kernels.fused import flow, preprocess
from kernels.graph_engine import captured

PICTURE = (512, 512)
LAUNCHES = 20  # in one graph


def roof() -> dict[str, float]:
    """What this GPU's memory and matrix units do at most, and what an empty launch takes."""
    large = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    square = torch.randn(8192, 8192, dtype=torch.float16, device="cuda")
    small = torch.zeros(1, device="cuda")
    copy_s = _seconds(lambda: large.clone(), 10)
    product_s = _seconds(lambda: square @ square, 10)
    return {
        "bytes_per_s": 2 * large.numel() / copy_s,
        "half_operations_per_s": 2 * 8192**3 / product_s,
        "launch_s": _seconds(lambda: small.add_(1), 100),
        "multiprocessors": torch.cuda.get_device_properties(0).multi_processor_count,
    }


def measured(network: System1Network, chunks: Sequence[int]) -> dict[str, dict[str, float]]:
    """The flow loop of `network` for so many chunks each, and a picture's preparation.

    Of each: its floor [us], what it takes in a CUDA graph, and what torch's operators take.
    """
    limits = roof()
    each = limits["half_operations_per_s"] / limits["multiprocessors"]
    network = network.cuda()
    fused = flow.FusedFlow(network).cuda()
    found: dict[str, dict[str, float]] = {"roof": limits}
    for count in chunks:
        work, reference, context = _flow_works(network, fused, count)
        cost = fused.cost(count, context)
        # A chunk does not leave its multiprocessor.
        floor = max(cost.bytes / limits["bytes_per_s"], cost.operations / count / each)
        found[f"flow, {count} chunk(s)"] = _kernel(work, reference, floor)
    found["preprocess, 512 x 512"] = _picture(limits)
    return found


def _picture(limits: dict[str, float]) -> dict[str, float]:
    image = torch.randint(0, 256, (1, *PICTURE, 3), dtype=torch.uint8, device="cuda")
    lines = torch.zeros(0, 7, device="cuda")
    centre, spread = torch.full((3,), 127.5, device="cuda"), torch.full((3,), 64.0, device="cuda")
    given = (image, lines, PICTURE, centre, spread)
    floor = (image.numel() + 2 * image.numel()) / limits["bytes_per_s"]  # uint8 in, half out
    return _kernel(
        lambda: preprocess.preprocess(*given),
        lambda: preprocess.preprocess_reference(*given).half(),
        floor,
    )


def _flow_works(
    network: System1Network, fused: flow.FusedFlow, chunks: int
) -> tuple[Callable[[], Any], Callable[[], Any], int]:
    c = network.config
    source = torch.randn(chunks, c.horizon, c.action_size, device="cuda")
    images = [
        torch.randint(0, 256, (1, h, w, k), dtype=torch.uint8, device="cuda")
        for _, h, w, k in c.cameras
    ]
    plan, z, phase = (torch.zeros(1, n, device="cuda") for n in (c.plans, c.plan_vector_size, 3))
    state = torch.zeros(1, c.state_size, device="cuda")
    with torch.inference_mode():
        context = network.encode(images, state, Guided(plan, z, phase))
    committed = torch.zeros(1, c.horizon, device="cuda")
    return (
        lambda: fused(source, context, committed),
        lambda: network.flow(source, context, c.flow_steps, committed),
        context.keys[0].shape[2],
    )


@torch.inference_mode()
def _kernel(
    work: Callable[[], Any], reference: Callable[[], Any], floor_s: float
) -> dict[str, float]:
    error = float((work().float() - reference().float()).abs().max())
    # In a graph: what the processor needs for a launch is not the kernel's.
    alone, plain = _seconds(captured(work, LAUNCHES), 20) / LAUNCHES, _seconds(reference, 50)
    return {
        "floor_us": 1e6 * floor_s,
        "measured_us": 1e6 * alone,
        "over_floor": alone / floor_s,
        "torch_us": 1e6 * plain,
        "times_faster": plain / alone,
        "largest_error": error,
    }


@torch.inference_mode()
def _seconds(work: Callable[[], Any], times: int) -> float:
    """Median seconds by the device's events."""
    for _ in range(3):
        work()
    found = []
    for _ in range(times):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        found.append(begin.elapsed_time(end) / 1e3)
    return sorted(found)[len(found) // 2]
