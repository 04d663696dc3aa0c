"""Rerun's own viewer as a process: a window, or a page for a browser. On loopback alone."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from typing import IO
from urllib.parse import quote

from dualsys.errors import DualsysError

HERE = "127.0.0.1"
PATIENCE_S = 30.0


class Window:
    """A viewer that listens on this machine; `source` is where to send to."""

    def __init__(self, browser: bool) -> None:
        """Open a window, or serve a page whose address is `page`. Raises `DualsysError`."""
        port, web = _free_port(), _free_port()
        self.source = f"rerun+http://{HERE}:{port}/proxy"
        self.page = f"http://{HERE}:{web}/?url={quote(self.source, safe='')}" if browser else ""
        words = ["--bind", HERE, "--port", str(port), "--hide-welcome-screen"]
        words += ["--serve-web", "--web-viewer-port", str(web)] if browser else []
        with tempfile.TemporaryFile("w+") as said:
            # A session of its own: a window outlives who opened it.
            self.process = subprocess.Popen(
                [sys.executable, "-m", "rerun", *words],
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
            self._await(port, said)

    def _await(self, port: int, said: IO[str]) -> None:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            if self.process.poll() is not None:
                said.seek(0)
                told = " ".join(said.read().split())[-300:]
                raise DualsysError(
                    f"the viewer ended at once ({told or 'it said nothing'}); without a display "
                    "take how=browser, or save=FILE.rrd"
                )
            with socket.socket() as probe:
                if probe.connect_ex((HERE, port)) == 0:
                    return
            time.sleep(0.1)
        self.close()
        raise DualsysError(f"the viewer does not answer after {PATIENCE_S:.0f} s; try again")

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        return int(probe.getsockname()[1])
