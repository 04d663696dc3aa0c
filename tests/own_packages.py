"""The packages of the tutorials, written to a folder as a reader would, and installed there.

A block of code after "`path`:" is that file. An installed package is a folder on the path with a
`.dist-info` beside it: here its entry points are those of the tutorial's own pyproject.toml.
"""

from __future__ import annotations

import re
from pathlib import Path

import tomllib

DOCS = Path(__file__).parent.parent / "docs"
NAMED = re.compile(
    r"^`([\w/.\-]+\.\w+)`(?:, [^`\n]*)?:\n\n```(?:python|toml|yaml)\n(.*?)```",
    re.DOTALL | re.MULTILINE,
)


def files_of(page: str) -> dict[str, str]:
    """The files of a tutorial."""
    return dict(NAMED.findall((DOCS / f"{page}.md").read_text()))


def scripts_of(page: str) -> list[str]:
    """Python that a tutorial runs without making a file of it."""
    text = NAMED.sub("", (DOCS / f"{page}.md").read_text())
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def install(page: str, folder: Path, *swapped: tuple[str, str]) -> Path:
    """Write a tutorial's files into a folder, some words `swapped` for others, and install them."""
    for name, content in files_of(page).items():
        for old, new in swapped:
            content = content.replace(old, new)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        if name.endswith(".py") and path.parent != folder:
            (path.parent / "__init__.py").touch()
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    about = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    about.mkdir(exist_ok=True)
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, offered in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {what}" for name, what in offered.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder
