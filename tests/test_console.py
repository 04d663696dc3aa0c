from __future__ import annotations

import io

from rich.console import Console

from dualsys.console import ProgressLines, StatusLines


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


def test_a_status_is_a_line_now_and_then_in_a_file() -> None:
    now, out = 0.0, io.StringIO()
    console = Console(file=out, width=40, get_time=lambda: now)
    with StatusLines(console) as lines:
        lines.show({})
        for second in range(65):
            now = float(second)
            lines.show({"episode": "0", "drops": f"none in {second} s [so far]"})
    told = [f"episode: 0; drops: none in {n} s [so far]" for n in (0, 30, 60)]
    assert out.getvalue().splitlines() == told


def test_a_status_in_a_terminal_is_replaced_and_leaves_nothing() -> None:
    out = io.StringIO()
    with StatusLines(Console(file=out, force_terminal=True, width=40)) as lines:
        lines.show({"episode": "first"})
        lines.show({"episode": "second"})
        assert "second" in out.getvalue()
    assert out.getvalue().endswith("\x1b[2K"), "its line is erased"
