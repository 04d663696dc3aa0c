from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = {"torch", "mujoco", "gymnasium", "metaworld", "highway_env", "transformers", "pyarrow"}


@pytest.mark.parametrize("module", ["dualsys", "dualsys.messages", "dualsys.codec", "dualsys.cli"])
def test_the_light_modules_import_nothing_heavy(module: str) -> None:
    program = f"import sys, {module}; print(*sorted(m for m in sys.modules if '.' not in m))"
    names = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    assert not HEAVY & set(names)


def test_no_module_of_ours_imports_pickle() -> None:
    for package in ("dualsys", "sim", "kernels"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                assert not {"pickle", "cloudpickle", "dill", "joblib"} & set(names), path
