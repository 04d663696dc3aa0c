from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from dualsys.config import expand_sweep, load
from dualsys.schemas import COMMANDS

ROOT = Path(__file__).parent.parent


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        *(
            f"docs/{n}.md"
            for n in ("planner", "benchmark", "measured", "engines", "safety", "view")
        ),
        "docs/deployment.md",
        "docs/interop.md",
        *(f"docs/bring_your_own_{n}.md" for n in ("policy", "planner", "environment", "robot")),
    ],
)
def test_every_command_of_a_page_composes(page: str) -> None:
    """What the commands do is tested elsewhere; here, that their words are still valid."""
    lines = [
        shlex.split(line, comments=True)
        for block in blocks(ROOT / page, "bash")
        for line in block.splitlines()
        if line.startswith("dualsys")
    ]
    assert lines, page
    for _, command, *words in lines:
        if command in ("replay", "view"):
            words = [word if "=" in word else f"log={word}" for word in words]
        if command in ("train", "serve"):
            command, words = f"{command} {words[0]}", words[1:]
        assert command in COMMANDS
        for job in expand_sweep(command, [word for word in words if "=" in word]):
            load(command, job)
