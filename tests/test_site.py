"""The documentation site is built with warnings as errors, and holds what the repository holds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dualsys.schemas import COMMANDS

pytest.importorskip("mkdocs", reason="the site needs the extra `docs`")
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_built(site: Path) -> None:
    for page in (ROOT / "docs").glob("*.md"):
        assert (site / page.stem / "index.html").is_file()


def test_commands_configuration_and_fields_are_told(site: Path) -> None:
    commands = (site / "commands" / "index.html").read_text()
    for command in COMMANDS:
        assert f'id="dualsys-{command.replace(" ", "-")}"' in commands
    configuration = (site / "configuration" / "index.html").read_text()
    for file in (ROOT / "conf").rglob("*/*.yaml"):
        assert f"{file.relative_to(ROOT / 'conf').parts[0]}={file.stem}" in configuration
    python = (site / "python" / "index.html").read_text()
    assert "float32 (T, A), units of WorldSpec.action" in python, "a comment beside a field"


def test_figures_are_drawn_by_what_comes_with_the_site(site: Path) -> None:
    page = (site / "figures" / "index.html").read_text()
    wanted = re.findall(r"<!-- figures: \S+ (.+?) -->", (ROOT / "docs/figures.md").read_text())
    assert page.count('class="figure"') == sum(len(names.split()) for names in wanted) > 5
    assert (site / "assets" / "plotly.js").stat().st_size > 1e6
    pages = site.rglob("*.html")
    fetched = [re.findall(r'<(?:script|link)[^>]*"https?://[^"]*"', p.read_text()) for p in pages]
    assert not [link for links in fetched for link in links if "canonical" not in link]
