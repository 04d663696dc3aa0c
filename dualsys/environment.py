"""The one module that reads, and completes, the environment variables."""

from __future__ import annotations

import os
from pathlib import Path

from dualsys.errors import DualsysError


def secret(variable: str) -> str:
    """The value of an environment variable; it is never logged. Raises `DualsysError` if unset."""
    if not variable:
        return ""
    if variable not in os.environ:
        raise DualsysError(f"key_variable={variable}, but no such environment variable is set")
    return os.environ[variable]


def kernels_are_interpreted() -> bool:
    """Whether Triton was told to run its kernels on the processor, slowly, as tests do."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def set_headless_defaults() -> None:
    """Choose off-screen rendering where no display is set; what the user set stays."""
    if not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")
        if os.environ["MUJOCO_GL"] == "egl":
            os.environ.setdefault("PYOPENGL_PLATFORM", "egl")
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        # The software rasteriser's own threads cost a small frame more than they save, and take
        # the cores from the other processes; the pixels are the same.
        os.environ.setdefault("LP_NUM_THREADS", "0")


def rendering_with(backend: str) -> dict[str, str]:
    """The environment of a process that renders off-screen with this backend of MuJoCo's."""
    return {**os.environ, "MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend}


def service_manager() -> tuple[str, int]:
    """Where systemd listens for signs of life, and how long it waits for each [us]; "", 0: nobody.

    See sd_notify(3) and sd_watchdog_enabled(3).
    """
    address, wait = os.environ.get("NOTIFY_SOCKET", ""), os.environ.get("WATCHDOG_USEC", "")
    ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return address, int(wait) if ours and wait.isdecimal() else 0


def cache_folder() -> Path:
    """Where what can be made anew is kept: $DUALSYS_CACHE, or the user's folder for caches."""
    if named := os.environ.get("DUALSYS_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dualsys"
