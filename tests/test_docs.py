from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from dualsys.config import expand_sweep, load
from dualsys.schemas import COMMANDS
from sim import registry

ROOT = Path(__file__).parent.parent
PAGES = [page for page in sorted((ROOT / "docs").glob("*.md")) if "```python" in page.read_text()]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.rendering
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_python_block_of_the_docs_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    found = blocks(page, "python")
    assert found
    for block in found:
        exec(compile(block, str(page), "exec"), {"__name__": "docs"})


def test_an_environment_joins_in_under_50_lines() -> None:
    (block,) = blocks(ROOT / "docs/bring_your_own_environment.md", "python")
    assert len([line for line in block.splitlines() if line.strip()]) < 50


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        *(
            f"docs/{n}.md"
            for n in ("planner", "benchmark", "measured", "engines", "safety", "deployment")
        ),
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
        if command == "replay":
            words = [word if "=" in word else f"log={word}" for word in words]
        if command in ("train", "serve"):
            command, words = f"{command} {words[0]}", words[1:]
        assert command in COMMANDS
        for job in expand_sweep(command, [word for word in words if "=" in word]):
            load(command, job)
