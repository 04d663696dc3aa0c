"""Signs of life to systemd, where it started this process: sd_notify(3) without its library."""

from __future__ import annotations

import socket
from contextlib import suppress


class Notifier:
    """Says "ready", "alive" and "stopping" to the service manager; to nobody without an address."""

    def __init__(self, address: str = "", watchdog_us: int = 0) -> None:
        """`address` and `watchdog_us` as `environment.service_manager` has them."""
        # A leading @ stands for the null byte of an address outside of the file system.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._every_ns = watchdog_us * 1_000 // 2  # twice as often as it is waited for
        self._due_ns: int | None = None
        self._ready = False

    def ready(self, status: str) -> None:
        """The service is up, once; `status` is what `systemctl status` shows."""
        if not self._ready:
            self._ready = True
            self._say(f"READY=1\nSTATUS={status}")

    def status(self, text: str) -> None:
        """What `systemctl status` shows from now on."""
        self._say(f"STATUS={text}")

    def alive(self, now_ns: int) -> None:
        """Feed the watchdog when it is time, at `now_ns`."""
        if self._every_ns and (self._due_ns is None or now_ns >= self._due_ns):
            self._due_ns = now_ns + self._every_ns
            self._say("WATCHDOG=1")

    def stopping(self) -> None:
        """The service ends in order."""
        self._say("STOPPING=1")

    def _say(self, words: str) -> None:
        if not self._address:
            return
        # Not there, or full: the service goes on; systemd sees to it that is silent too long.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as way:
            way.setblocking(False)
            way.sendto(words.encode(), self._address)
