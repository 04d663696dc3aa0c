"""What an engine's file was made on: the processor, the GPU and its driver, as short words."""

from __future__ import annotations

import ctypes
import hashlib
import platform
from pathlib import Path

from dualsys.errors import DualsysError

_CPUINFO = Path("/proc/cpuinfo")
_DRIVER = Path("/proc/driver/nvidia/version")
_CAPABILITY = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


def processor() -> dict[str, str]:
    """Its name, and a digest of its instructions: compiled code may use every one of them."""
    told = {"processor": platform.processor() or platform.machine()}
    if not _CPUINFO.is_file():
        return told
    lines = _CPUINFO.read_text().split("\n\n")[0].splitlines()
    pairs = (line.partition(":") for line in lines)
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    told["processor"] = fields.get("model name", told["processor"])
    flags = fields.get("flags") or fields.get("Features")
    if flags:
        told["instructions"] = hashlib.sha256(flags.encode()).hexdigest()[:8]
    return told


def gpu() -> dict[str, str]:
    """Name, compute capability and driver of the first GPU, and the CUDA that the driver speaks.

    Raises `DualsysError` where there is no driver or no GPU.
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise DualsysError(
            f"there is no NVIDIA driver ({error}); install one, or choose an engine for processors"
        ) from error
    device, version = ctypes.c_int(), ctypes.c_int()
    capability, name = (ctypes.c_int(), ctypes.c_int()), ctypes.create_string_buffer(128)
    codes = [cuda.cuInit(0), cuda.cuDeviceGet(ctypes.byref(device), 0)]
    codes += [cuda.cuDriverGetVersion(ctypes.byref(version))]
    codes += [cuda.cuDeviceGetName(name, len(name), device)]
    for value, attribute in zip(capability, _CAPABILITY, strict=True):
        codes.append(cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device))
    if any(codes):
        raise DualsysError(
            f"the NVIDIA driver shows no usable GPU (CUDA errors {sorted({*codes} - {0})}); see "
            "nvidia-smi, or choose an engine for processors"
        )
    return {
        "gpu": name.value.decode(),
        "compute_capability": ".".join(str(part.value) for part in capability),
        "cuda": f"{version.value // 1000}.{version.value % 1000 // 10}",
        "driver": _driver(),
    }


def _driver() -> str:
    """The kernel module's version, where the system tells it."""
    words = _DRIVER.read_text().split() if _DRIVER.is_file() else []
    numbers = [word for word in words if word[:1].isdigit() and word.count(".") >= 1]
    return numbers[0] if numbers else "not told"
