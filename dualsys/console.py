"""What the commands print with: tables or JSON, a progress bar, a status, rates as text."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import msgspec
from rich.console import Console
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

_FOR_PROGRAMS: ContextVar[bool] = ContextVar("for programs", default=False)


@contextmanager
def for_programs(wanted: bool) -> Iterator[None]:
    """While it lasts standard output is for `answered` alone (`--json`), if that is `wanted`."""
    before = _FOR_PROGRAMS.set(wanted)
    try:
        yield
    finally:
        _FOR_PROGRAMS.reset(before)


def answered(found: Any) -> None:
    """What a command found, as a line of JSON where a program reads it; NaN is null."""
    if _FOR_PROGRAMS.get():
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        sys.stdout.flush()


def table_console() -> Console:
    """Standard output, wide enough for the tables where no terminal limits it (a file, a pipe).

    Standard error where a program reads the output.
    """
    stream = sys.stderr if _FOR_PROGRAMS.get() else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else 200)


class ProgressLines(Progress):
    """A progress bar that writes a line now and then where no terminal shows it (a log file)."""

    PERIOD_S = 30.0
    _written: float | None = None

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """As `rich.progress.Progress.update`."""
        super().update(task_id, **changes)
        now = self.get_time()
        if self._written is None:
            self._written = now
        if self.console.is_terminal or now - self._written < self.PERIOD_S:
            return
        self._written = now
        task = self._tasks[task_id]
        of = "" if task.total is None else f"/{task.total:.0f}"
        note = task.fields.get("note", "")
        self.console.print(
            f"{task.description} {task.completed:.0f}{of} {note}", markup=False, highlight=False
        )


def progress_bar() -> Progress:
    """A bar on standard error: what is done, of how many, a note, and the time left."""
    return ProgressLines(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


class StatusLines:
    """Names with what is said of them: at the bottom of a terminal, elsewhere a line now and then.

    On standard error. `with StatusLines() as lines: lines.show({...})`, as often as one likes.
    """

    PERIOD_S = 30.0

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._written: float | None = None

    def __enter__(self) -> StatusLines:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def show(self, said: dict[str, str]) -> None:
        """Show this instead of what was shown before; nothing where there is nothing to say."""
        if not said:
            return
        if self._console.is_terminal:
            table = Table.grid(padding=(0, 2))
            for name, what in said.items():
                table.add_row(Text(name, style="bold"), Text(what))
            self._live.update(table, refresh=True)
            return
        now = self._console.get_time()
        if self._written is None or now - self._written >= self.PERIOD_S:
            self._written = now
            line = "; ".join(f"{name}: {what}" for name, what in said.items())
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def percent(rate: float | None) -> str:
    """A rate for a table; "-" where no episode was completed."""
    return "-" if rate is None else f"{rate:.1%}"


def ranged(value: float | None, ends: Sequence[float | None] | None, form: str) -> str:
    """A number with its interval for a table; "-" where there is none (None, or NaN)."""
    if value is None or math.isnan(value):
        return "-"
    known = [end for end in ends or () if end is not None and not math.isnan(end)]
    if len(known) < 2:
        return f"{value:{form}} (one drive: no interval)"
    return f"{value:{form}} ({known[0]:{form}} .. {known[1]:{form}})"
