"""The package openpi-client, unmodified, which `launch/setup.sh` keeps apart: it wants numpy 1."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

KEPT = Path(sys.prefix) / "openpi"


def openpi(module: str) -> ModuleType:
    """A module of the package."""
    if not KEPT.is_dir():
        pytest.skip("openpi-client is not here; launch/setup.sh brings it")
    if str(KEPT) not in sys.path:
        sys.path.append(str(KEPT))
    return importlib.import_module(f"openpi_client.{module}")
