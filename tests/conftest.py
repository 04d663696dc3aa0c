from __future__ import annotations

import os
from pathlib import Path

import pytest

# Before any import of a simulator: rendering without a display, one thread per process.
os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("PYOPENGL_PLATFORM", "egl")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def language_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.planners import build_language

    return build_language(tmp_path_factory.mktemp("language"))


@pytest.fixture(scope="session")
def planner_folder(language_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.planners import build_planner

    return build_planner(language_folder, tmp_path_factory.mktemp("planner") / "planner")
