"""Runs every check, one after the other, and prints the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dualsys.console import answered, table_console
from dualsys.doctor import link, machine, packages, rendering, shipped
from dualsys.doctor.finding import Finding, verdict
from dualsys.errors import DualsysError

Check = Callable[[], Finding | list[Finding]]
COLOURS = {"good": "green", "weak": "yellow", "bad": "red"}


def checks(config: dict[str, Any]) -> dict[str, Check]:
    """What is looked at, in order."""
    return {
        "packages": packages.check,
        "processor": machine.processor,
        "GPU": machine.gpu,
        "clock": machine.clock,
        "scheduler": machine.scheduler,
        "stalls": lambda: machine.stalls(config["watch_s"]),
        "sockets": machine.sockets,
        "link": lambda: link.check(config["link"]),
        "disk": lambda: machine.disk(Path(config["out"]), config["disk_mb"]),
        "rendering": rendering.check,
        "weights": shipped.weights,
        "engines": shipped.engines,
    }


def findings(todo: dict[str, Check], begun: Callable[[str], None]) -> Iterator[Finding]:
    """What each check finds; one that fails itself is a finding, too."""
    for name, check in todo.items():
        begun(name)
        try:
            found = check()
        except (DualsysError, ImportError, OSError, RuntimeError) as error:
            remedy = "mend what stands above first, then run `dualsys doctor` again"
            found = Finding(name, "bad", f"{type(error).__name__}: {error}", remedy)
        yield from [found] if isinstance(found, Finding) else found


def run_doctor(config: dict[str, Any]) -> int:
    """`dualsys doctor`. Exit code 1 when something that every run needs is bad."""
    todo, console = checks(config), Console(stderr=True)
    with console.status("") as status:
        found = list(findings(todo, lambda name: status.update(f"looking at: {name}")))
    table = Table()
    for column in ("what", "", "found", "remedy"):
        table.add_column(column, no_wrap=column == "", overflow="fold")
    for finding in found:
        colour = COLOURS[finding.verdict]
        words = (finding.what, finding.verdict, finding.found, finding.remedy)
        table.add_row(*map(escape, words), style=colour)
    table_console().print(table)
    answered({"verdict": verdict(found), "findings": found})
    return 1 if verdict(found) == "bad" else 0
