"""What the commands print with: a console that keeps its width, a progress bar, rates as text."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def table_console() -> Console:
    """Standard output, wide enough for the tables where no terminal limits it (a file, a pipe)."""
    return Console(width=None if sys.stdout.isatty() else 200)


def progress_bar() -> Progress:
    """A bar on standard error: what is done, of how many, a note, and the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def percent(rate: float | None) -> str:
    """A rate for a table; "-" where no episode was completed."""
    return "-" if rate is None else f"{rate:.1%}"
