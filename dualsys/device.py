"""Where torch computes: the one place that turns a setting into a device, for runs and training."""

from __future__ import annotations

from typing import Any

from dualsys.errors import DualsysError


def device_of(name: str) -> str:
    """The torch device that a setting `device` means; "auto" is a GPU when there is one.

    Raises `DualsysError` for a name that torch does not know, and for a GPU that is not there.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DualsysError(f"device={name} is none of torch's; give auto, cpu or cuda") from error
    found = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= found:
        raise DualsysError(
            f"device={name} is asked for, torch sees {found} CUDA devices on this machine; give "
            "device=auto or device=cpu"
        )
    return name


def planner_device(system2: dict[str, Any]) -> str | None:
    """The torch device of a planner with a model of its own, as configured; None for the others."""
    name = system2["name"]
    local = name in ("vlm", "language") or (name == "remote" and system2["checkpoint"])
    return device_of(system2["device"]) if local else None
