"""Without a working GL the manipulation worlds say so in one line with the remedy."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

MAKE = """
from dualsys.errors import DualsysError
from sim import registry
try:
    registry.make("manipulation/push")
except DualsysError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"MUJOCO_GL": "bogus"}, "bogus"),
        ({"MUJOCO_GL": "egl", "__EGL_VENDOR_LIBRARY_FILENAMES": "/nowhere"}, "EGL device"),
    ],
)
def test_a_missing_gl_names_the_remedy(changes: dict[str, str], found: str) -> None:
    environment = {**os.environ, **changes}
    done = subprocess.run(
        [sys.executable, "-c", MAKE], env=environment, capture_output=True, text=True, check=False
    )
    assert found in done.stdout
    assert "install libegl1" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr
