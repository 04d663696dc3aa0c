"""Two commands can not fill one folder at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dualsys import cli
from dualsys.errors import DualsysError
from dualsys.occupied import occupied
from dualsys.schemas import COMMANDS

HOLD = """
import sys
from pathlib import Path
from dualsys.occupied import occupied
with occupied(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_folder_is_held_until_its_holder_ends(
    holder: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (tmp_path / "out", Path("out"), tmp_path / "other/../out"):
        with pytest.raises(DualsysError, match=r"fills .*out; wait until it ends"), occupied(name):
            pass
    with occupied(tmp_path / "other"):
        pass
    assert not (tmp_path / "out").exists(), "it need not be there to be held"
    holder.kill()
    holder.wait()
    with occupied(tmp_path / "out"):
        pass


@pytest.mark.parametrize("command", ["eval", "bench", "collect"])
def test_a_second_command_is_refused_and_touches_nothing(
    command: str,
    holder: subprocess.Popen[bytes],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "scenario=driving/merge", "seeds=0", f"out={tmp_path / 'out'}"])
    assert ended.value.code == 2
    assert "another process fills" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_every_command_that_fills_a_folder_is_named() -> None:
    assert set(cli.FILLED) <= set(COMMANDS)
    assert {name for name in COMMANDS if name.startswith("train")} <= set(cli.FILLED)
