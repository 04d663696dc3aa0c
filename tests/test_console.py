from __future__ import annotations

import io

from rich.console import Console

from dualsys.console import ProgressLines


def test_a_log_file_gets_a_line_now_and_then() -> None:
    now = 0.0
    out = io.StringIO()
    bar = ProgressLines(console=Console(file=out, width=80), get_time=lambda: now)
    task = bar.add_task("steps", total=100, note="")
    for step in range(100):
        now = float(step)
        bar.update(task, completed=step, note=f"loss {step}")
    assert out.getvalue().splitlines() == [f"steps {n}/100 loss {n}" for n in (30, 60, 90)]


def test_a_terminal_gets_no_lines() -> None:
    now = 0.0
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80)
    bar = ProgressLines(console=console, get_time=lambda: now)
    task = bar.add_task("steps", total=None, note="")
    now = 100.0
    bar.update(task, completed=1)
    assert out.getvalue() == ""
