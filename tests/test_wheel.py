"""The wheel: what is in it, and that it works outside of the checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import dualsys

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    words = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = out.glob("*.whl")
    return found


def test_it_holds_the_packages_configuration_and_weights_and_no_more(wheel: Path) -> None:
    assert wheel.name == f"dualsys-{dualsys.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as held:
        names = set(held.namelist())
        metadata = held.read(f"dualsys-{dualsys.__version__}.dist-info/METADATA").decode()
    tops = {name.split("/", 1)[0] for name in names}
    assert tops == {"dualsys", "sim", "kernels", f"dualsys-{dualsys.__version__}.dist-info"}
    wanted = {path.relative_to(ROOT / "conf") for path in (ROOT / "conf").rglob("*.yaml")}
    assert {f"dualsys/conf/{path}" for path in wanted} <= names
    for domain in ("driving", "manipulation", "driving-planner", "driving-gate"):
        assert any(name.startswith(f"dualsys/weights/{domain}/") for name in names), domain
    assert "License-Expression: Apache-2.0" in metadata
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_one_version_is_told_everywhere() -> None:
    released = re.findall(r"^## (\d+\.\d+\.\d+) - ", (ROOT / "CHANGELOG.md").read_text(), re.M)
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert cited is not None
    assert released[0] == cited.group(1) == dualsys.__version__


@pytest.mark.rendering
def test_it_drives_and_examines_a_machine_outside_of_the_checkout(
    wheel: Path, tmp_path: Path
) -> None:
    site, away = tmp_path / "site", tmp_path / "away"
    with zipfile.ZipFile(wheel) as held:
        held.extractall(site)
    away.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=away, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert str(site) in run("-c", "import dualsys, sim, kernels; print(dualsys.__file__)")
    words = ["scenario=driving/merge", "runtime.episode_s=1", "seeds=0:1", "out=run"]
    run("-m", "dualsys", "eval", *words)  # with the shipped policy and planner
    assert (away / "run/results.json").is_file()
    assert "packages" in run("-m", "dualsys", "doctor", "watch_s=0.1", "disk_mb=1")
