"""What the kernels take of a multiprocessor: `python -m kernels.fused.resources`. Needs no GPU.

Triton compiles for any of NVIDIA's architectures on a machine without one; the assembler's own
account of registers, shared memory and spills is read back from the binary.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import torch

from dualsys.errors import DualsysError

ARCHITECTURES = (80, 90, 120)
KERNELS = ("flow", "preprocess")


class Resources(msgspec.Struct, frozen=True):
    """Per program: registers of a thread, bytes of shared memory, bytes of stack (spills)."""

    kernel: str
    architecture: int
    registers: int
    shared: int
    spilled: int
    binary: int


def resources(kernel: str, architecture: int) -> Resources:
    """Compile a kernel for `architecture` (90: sm_90). Raises `DualsysError` without Triton."""
    try:
        import triton
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource
    except ImportError as error:
        raise DualsysError(f"kernels need the extra `triton` ({error})") from error
    function, constants, types, launch = _subject(kernel)
    names = function.arg_names
    signature = {name: "constexpr" if name in constants else types[name] for name in names}
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(names)
        if signature[name].startswith("*")
    }
    source = ASTSource(fn=function, signature=signature, constexprs=constants, attrs=aligned)
    target = GPUTarget("cuda", architecture, 32)
    compiled = triton.compile(source, target=target, options=launch)
    account = _account(compiled.asm["cubin"])
    return Resources(
        kernel, architecture, account["REG"], compiled.metadata.shared,
        account["STACK"] + account["LOCAL"], len(compiled.asm["cubin"]),
    )  # fmt: skip


def _subject(kernel: str) -> tuple[Any, dict[str, Any], dict[str, str], dict[str, int]]:
    """The kernel as the driving policy and a 512 x 512 picture call it."""
    if kernel == "preprocess":
        from kernels.fused.preprocess import LAUNCH as PREPROCESS
        from kernels.fused.preprocess import constants
        from kernels.fused.preprocess_triton import preprocess_kernel

        types = {"image": "*u8", "out": "*fp16", "count": "i32"}
        types |= dict.fromkeys(("segments", "centre", "spread"), "*fp32")
        return preprocess_kernel, dict(constants(512, 512, (512, 512))), types, PREPROCESS
    from dualsys.system1.network import NetworkConfig, System1Network
    from kernels.fused.flow import LAUNCH, FusedFlow
    from kernels.fused.flow_triton import flow_kernel

    network = System1Network(NetworkConfig((("eye", 64, 64, 3),), 8, 2, 5, 12))
    packed = FusedFlow(network, torch.float16)
    half = {name for name, tensor in packed.named_buffers() if tensor.dtype == torch.float16}
    names = flow_kernel.arg_names
    types = {n: "*fp16" if n in half | {"keys", "values"} else "*fp32" for n in names}
    return flow_kernel, packed.constants(context=70), types, LAUNCH


def _account(binary: bytes) -> dict[str, int]:
    """What the assembler says of a binary, by name."""
    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        told = subprocess.run(
            [tool, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    return {name: int(count) for name, count in re.findall(r"(REG|STACK|LOCAL):(\d+)", told)}


def main() -> None:
    """Print what every kernel takes on every architecture, as JSON lines."""
    for kernel in KERNELS:
        for architecture in ARCHITECTURES:
            found = msgspec.json.encode(resources(kernel, architecture))
            sys.stdout.write(found.decode() + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
