"""`dualsys view`: shows a log, or follows one, until it was shown or Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Any

from dualsys.errors import DualsysError, UnknownNameError
from dualsys.view.other_tools import write_copy
from dualsys.view.show import follow_log, show_log, spec_of
from dualsys.view.window import Window

HOW = ("window", "browser")


def view(config: dict[str, Any]) -> dict[str, Any]:
    """Show what `config` names. Returns where it was shown and how many messages."""
    log = Path(config["log"])
    log = log / "log.mcap" if log.is_dir() else log
    if config["how"] not in HOW:
        raise UnknownNameError("how", config["how"], HOW)
    if not log.is_file() and not config["follow"]:
        raise DualsysError(
            f"there is no log {log}; give a log, or the folder of a run that has one"
        )
    if config["mcap"]:
        count = write_copy(log, spec_of(log), Path(config["mcap"]))
        return {"messages": count, "in": config["mcap"]}
    over = threading.Event()
    before = signal.signal(signal.SIGINT, lambda number, frame: over.set())
    to = Path(config["save"]) if config["save"] else Window(config["how"] == "browser")
    try:
        return _shown(config, log, to, over)
    finally:
        signal.signal(signal.SIGINT, before)
        if isinstance(to, Window) and to.page:
            to.close()  # a page is nothing without who serves it


def _shown(
    config: dict[str, Any], log: Path, to: Window | Path, over: threading.Event
) -> dict[str, Any]:
    page = to.page if isinstance(to, Window) else ""
    if page:
        sys.stderr.write(f"dualsys: look at {page} ; Ctrl-C ends it\n")
    if config["follow"]:
        count = follow_log(log, to, over)
    else:
        count = show_log(log, to, config["epoch"])
        if page:
            over.wait()
    return {"messages": count, "in": str(to) if isinstance(to, Path) else page or "a window"}
