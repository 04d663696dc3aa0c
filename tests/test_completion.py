"""The tab key offers what there is, in the shells themselves where they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dualsys.completion import SCRIPTS, answer, follow
from dualsys.errors import UnknownNameError
from dualsys.schemas import COMMANDS


def test_commands_and_what_is_trained_are_offered() -> None:
    assert follow([], "b") == ["bench", "bench-engine", "build"]
    assert "system1" in follow(["train"], "")
    assert follow(["completion"], "") == ["bash", "fish", "zsh"]
    assert follow(["nothing"], "") == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_offers_its_keys(command: str) -> None:
    offered = follow(command.split(" "), "")
    assert "--json" in offered
    assert any(word.endswith("=") for word in offered)
    assert ("--resume" in offered) == (command == "bench")


def test_values_with_names_are_offered_and_keys_only_once() -> None:
    assert follow(["eval"], "runtime=") == ["runtime=lockstep", "runtime=realtime"]
    assert "scenario=driving/merge" in follow(["eval"], "scenario=driving/")
    assert follow(["eval"], "system1.cascade=") == ["system1.cascade=true", "system1.cascade=false"]
    assert follow(["eval"], "out=") == [], "a folder, which the shell itself knows"
    assert "seeds=" in follow(["eval"], "se")
    assert "seeds=" not in follow(["eval", "seeds=3"], "se")
    assert follow(["train", "system1"], "recipe=d") == ["recipe=driving"]


def test_a_shell_without_a_script_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown shell 'tcsh'.*bash, fish, zsh"):
        answer(["tcsh"])


def run(command: list[str]) -> list[str]:
    """The lines of a shell that finds this environment's `dualsys`."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("dualsys rep", ["replay", "report"]),
        ("dualsys eval runt", ["runtime="]),
        ("dualsys eval seeds=0:5 runtime=r", ["realtime"]),
    ],
)
def test_bash_completes_a_line(line: str, offered: list[str]) -> None:
    script = f'''source <(dualsys completion bash)
COMP_LINE="{line}" COMP_POINT={len(line)}
_dualsys
printf "%s\\n" "${{COMPREPLY[@]}}"'''
    found = run(["bash", "--norc", "-c", script])
    assert [word for word in found if word != "runtime.name="][: len(offered)] == offered


@pytest.mark.parametrize("shell", sorted(set(SCRIPTS) - {"bash"}))
def test_the_other_shells_read_their_scripts(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "script"
    script.write_text(SCRIPTS[shell])
    run([shell, "-n", str(script)])
