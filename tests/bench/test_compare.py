"""`launch/compare.py`: any two variants of a finished benchmark, paired."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.scripts import run


def test_a_pair_is_compared_as_the_table_does(done: Path, tmp_path: Path) -> None:
    out = tmp_path / "pair.json"
    told = run("launch/compare.py", done, "as_often", "periodic", "--out", out)
    assert told.returncode == 0, told.stderr
    found, report = json.loads(out.read_text()), json.loads((done / "bench.json").read_text())
    for measure, cell in report["compared"]["as_often"]["driving/merge"].items():
        for field in ("pairs", "mean", "ci95", "p"):
            assert found["compared"]["driving/merge"][measure][field] == cell[field]
    assert (found["variant"], found["against"]) == ("as_often", "periodic")
    assert found["contents"] == report["contents"]
    assert "driving/merge" in told.stdout


def test_the_other_way_round_the_sign_turns(done: Path, tmp_path: Path) -> None:
    """Two variants that the table never compares, one of them made to drive badly."""
    root, gains = Path(shutil.copytree(done, tmp_path / "done")), []
    episodes = list((root / "episodes/never").rglob("*.json"))
    assert len(episodes) == 5
    for path in episodes:
        row = json.loads(path.read_text())
        path.write_text(json.dumps(row | {"drive": row["drive"] | {"score": -1.0}}))
    for name, pair in (("one", ("as_often", "never")), ("other", ("never", "as_often"))):
        assert run("launch/compare.py", root, *pair, "--out", tmp_path / name).returncode == 0
        found = json.loads((tmp_path / name).read_text())
        gains.append(found["compared"]["driving/merge"]["score"]["mean"])
    assert gains[0] == -gains[1] >= 1.0


def test_what_cannot_be_compared_is_refused(done: Path, tmp_path: Path) -> None:
    cut = Path(shutil.copytree(done, tmp_path / "cut"))
    (cut / "bench.json").unlink()
    for folder, variant, words in (
        (done, "periodical", "unknown variant 'periodical'"),
        (cut, "never", f"dualsys bench --resume out={cut}"),
        (tmp_path, "never", "is no folder of a benchmark"),
    ):
        told = run("launch/compare.py", folder, variant, "never")
        assert told.returncode == 2
        assert words in told.stderr
        assert "Traceback" not in told.stderr
