"""Pictures of what one sees: `python launch/screenshots.py RUN [MORE ...] --out docs/images`.

The view, the report and the documentation site in a headless Chromium, drawn in software.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from dualsys.errors import DualsysError

DRAWN_IN_SOFTWARE = [
    *("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader"),
    *("--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"),
]
WIDTH_PX, HEIGHT_PX = 1600, 1000
SETTLED_MS = {"view": 30_000, "report": 4_000, "site": 3_000}  # until all is drawn


@contextmanager
def browser() -> Iterator[Any]:
    """A page of a headless Chromium."""
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        raise DualsysError("no Chromium is installed; launch/setup.sh installs one")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=DRAWN_IN_SOFTWARE)
        yield opened.new_page(viewport={"width": WIDTH_PX, "height": HEIGHT_PX})
        opened.close()


def taken(page: Any, address: str, name: str, out: Path) -> Path:
    """What a page shows once it is drawn."""
    page.goto(address, wait_until="domcontentloaded")
    page.wait_for_timeout(SETTLED_MS[name])
    picture = out / f"{name}.png"
    page.screenshot(path=picture)
    return picture


def of_view(page: Any, run: Path, out: Path) -> Path:
    """The view of a run's log, as `dualsys view RUN how=browser` serves it."""
    from dualsys.view.show import show_log
    from dualsys.view.window import Window

    window = Window(browser=True)
    try:
        show_log(run / "log.mcap", window)
        return taken(page, f"{window.page}&renderer=webgl", "view", out)
    finally:
        window.close()


def of_report(page: Any, runs: list[Path], out: Path) -> Path:
    """The report of runs and benchmarks."""
    from dualsys.report.page import write_report

    with tempfile.TemporaryDirectory() as folder:
        made = write_report(runs, Path(folder) / "report.html", 2)
        return taken(page, made.as_uri(), "report", out)


def of_site(page: Any, out: Path) -> Path:
    """The site's page of figures."""
    with tempfile.TemporaryDirectory() as folder:
        build = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", folder]
        subprocess.run(build, check=True)
        handler = functools.partial(Silent, directory=folder)
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            address = f"http://127.0.0.1:{server.server_port}/figures/"
            picture = taken(page, address, "site", out)
            server.shutdown()
        return picture


class Silent(SimpleHTTPRequestHandler):
    """Serves a folder and says nothing about it."""

    def log_message(self, format: str, *_: Any) -> None:
        """Say nothing."""


def main() -> None:
    """Take all pictures, or those named."""
    parser = argparse.ArgumentParser(description=__doc__)
    told = "the folder of a finished run, which is viewed; more runs and benchmarks for the report"
    parser.add_argument("runs", type=Path, nargs="+", help=told)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--only", choices=SETTLED_MS, help="this picture alone")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    wanted = [options.only] if options.only else list(SETTLED_MS)
    with browser() as page:
        for name in wanted:
            if name == "site":
                picture = of_site(page, options.out)
            elif name == "report":
                picture = of_report(page, options.runs, options.out)
            else:
                picture = of_view(page, options.runs[0], options.out)
            sys.stdout.write(f"{picture}\n")


if __name__ == "__main__":
    try:
        main()
    except DualsysError as error:
        sys.exit(f"screenshots: {error}")
