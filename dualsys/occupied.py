"""A folder that a command fills is its own until it ends: two at once would spoil each other's."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dualsys.errors import DualsysError


@contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Hold `folder`, which need not exist yet, against other processes on this machine.

    The lock stands in this user's temporary files and goes with the process, however it ends.
    Raises `DualsysError` where another process holds it.
    """
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    place = Path(tempfile.gettempdir()) / f"dualsys-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    with (place / f"{name}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DualsysError(
                f"another process fills {folder}; wait until it ends, or give another folder"
            ) from error
        yield
