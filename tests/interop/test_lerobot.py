"""Our datasets in LeRobot's own loader, and its policies as System 1, beside LeRobot itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dualsys.errors import DualsysError
from dualsys.interop.lerobot import LeRobotPolicy
from dualsys.learning.dataset import Dataset
from dualsys.plugins import POLICIES, find
from sim.driving.spec import SPEC
from tests.own_packages import scripts_of

ROOT = Path(__file__).parent.parent.parent
PYTHON = Path(os.environ.get("DUALSYS_LEROBOT", ROOT / ".venv-lerobot/bin/python"))
beside_lerobot = pytest.mark.skipif(
    not PYTHON.exists(), reason="LeRobot is not here: launch/setup_lerobot.sh brings it"
)


def there(*words: object) -> Any:
    """What the other environment found."""
    script = Path(__file__).parent / "lerobot_side.py"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [PYTHON, script, *map(str, words)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@beside_lerobot
@pytest.mark.timeout(300)
def test_lerobots_own_loader_reads_our_dataset(drives: Path, tmp_path: Path) -> None:
    ours = Dataset(drives)
    copy = shutil.copytree(drives, tmp_path / "copy")
    found = there("dataset", copy)
    assert (found["frames"], found["episodes"]) == (len(ours.state), len(ours.episodes))
    assert found["fps"] == SPEC.control_rate_hz
    np.testing.assert_allclose(found["state"], ours.state, rtol=1e-6)
    np.testing.assert_allclose(found["action"], ours.action, rtol=1e-6)
    shape, low, high = found["image"]
    assert (shape, low >= 0, high <= 1) == ([3, 64, 64], True, True)
    frames = ours.frames("topdown")[ours.frame_index("topdown")]
    pictures = frames.reshape(len(frames), -1).mean(1) / 255
    np.testing.assert_allclose(found["means"], pictures, atol=0.01)
    assert found["task"]
    (block,) = (text for text in scripts_of("interop") if "LeRobotDataset" in text)
    script = tmp_path / "block.py"
    script.write_text(block.replace("data/merges", str(copy)))
    assert there("page", script)["frames"] == len(ours.state)


@beside_lerobot
@pytest.mark.timeout(300)
def test_a_policy_of_lerobots_keeps_the_contract_and_a_foreign_one_is_refused(
    tmp_path: Path,
) -> None:
    told = there("policy", tmp_path)["refused"]
    assert "observation.state: it has (3,), the world (8,)" in told
    assert "dualsys collect" in told


def test_it_is_found_by_its_name() -> None:
    assert find(POLICIES, "policy", "lerobot").make is LeRobotPolicy


def test_without_a_folder_or_without_lerobot_it_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DualsysError, match=r"has no config\.json"):
        LeRobotPolicy(SPEC, None)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(DualsysError, match=r"needs LeRobot 0\.4 or newer"):
        LeRobotPolicy(SPEC, tmp_path)
