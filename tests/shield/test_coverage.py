"""The shield is the last thing before the plant: no line and no branch of it is untested."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
INSIDE = "DUALSYS_SHIELD_COVERAGE"


@pytest.mark.timeout(180)
@pytest.mark.skipif(INSIDE in os.environ, reason="this is the run that is measured")
def test_every_line_and_branch_of_the_shield_is_tested(tmp_path: Path) -> None:
    data, report = tmp_path / "data", tmp_path / "report.json"
    cover = [sys.executable, "-m", "coverage"]
    source = "--source=dualsys.shield,dualsys.limits"
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "tests/shield"]
    environment = {**os.environ, INSIDE: "1", "COVERAGE_FILE": str(data)}
    ran = subprocess.run(
        [*cover, "run", "--branch", source, *tests], cwd=ROOT, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout
    subprocess.run(
        [*cover, "json", "-o", str(report)], cwd=ROOT, env=environment, check=True,
        capture_output=True,
    )  # fmt: skip
    found = json.loads(report.read_text())
    missing = {
        name: (file["missing_lines"], file["missing_branches"])
        for name, file in found["files"].items()
        if file["missing_lines"] or file["missing_branches"]
    }
    assert len(found["files"]) >= 8
    assert missing == {}
