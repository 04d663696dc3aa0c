"""A bad cable between two network namespaces: packets come late, some never, and it can be cut.

Two namespaces of one kernel have no wire but the one made here: a TUN device in each, and a thread
that carries packets from one to the other. What is lost is a packet, so TCP does what it does on a
bad link: it sends again, later and later. (`tc netem` does the same inside the kernel; not every
kernel has it.)
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import struct
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from dualsys.clock import MonotonicClock
from dualsys.errors import DualsysError

ROBOT, WORKSTATION = "10.77.0.1", "10.77.0.2"
_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h
_MTU = 1500
_QUEUE = 1000  # packets each way, as netem has


class Cable:
    """Packets on their way, each for so long; a share of them is lost. Pure."""

    def __init__(self, delay_ns: int, loss: float, rng: np.random.Generator) -> None:
        """Delay and loss are those of each way."""
        self._delay_ns, self._loss, self._rng = delay_ns, loss, rng
        self._ways: tuple[deque[tuple[int, bytes]], ...] = (deque(), deque())
        self.cut = False
        self.carried = self.lost = 0

    def put(self, way: int, packet: bytes, now_ns: int) -> None:
        """A packet enters at `now_ns`; way 0 or 1."""
        if self.cut or self._rng.random() < self._loss or len(self._ways[way]) >= _QUEUE:
            self.lost += 1
        else:
            self._ways[way].append((now_ns + self._delay_ns, packet))

    def due(self, way: int, now_ns: int) -> list[bytes]:
        """The packets that come out by now, in order."""
        out, queue = [], self._ways[way]
        while queue and queue[0][0] <= now_ns:
            out.append(queue.popleft()[1])
        self.carried += len(out)
        return out

    def next_ns(self) -> int | None:
        """When the next one comes out; None while it is empty."""
        return min((queue[0][0] for queue in self._ways if queue), default=None)


class Wire:
    """Carries packets between two TUN devices, in a thread of its own."""

    def __init__(self, ends: tuple[int, int], cable: Cable) -> None:
        self._ends, self.cable, self._clock = ends, cable, MonotonicClock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="wire", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Carry no more."""
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        poller = select.poll()
        for end in self._ends:
            os.set_blocking(end, False)
            poller.register(end, select.POLLIN)
        while not self._over.is_set():
            following = self.cable.next_ns()
            now = self._clock.now_ns()
            left_ms = 50.0 if following is None else (following - now) / 1e6
            poller.poll(max(0.0, min(50.0, left_ms)))
            self._carry()

    def _carry(self) -> None:
        for way, (source, sink) in enumerate((self._ends, self._ends[::-1])):
            for packet in _packets(source):
                self.cable.put(way, packet, self._clock.now_ns())
            for packet in self.cable.due(way, self._clock.now_ns()):
                with suppress(OSError):  # the other machine is not there any more
                    os.write(sink, packet)


def _packets(end: int) -> Iterator[bytes]:
    for _ in range(64):
        try:
            yield os.read(end, _MTU + 100)
        except OSError:  # nothing more
            return


@contextmanager
def two_machines(cable: Cable) -> Iterator[tuple[str, str, Wire]]:
    """Names of two network namespaces, and the wire between them; all are gone in the end.

    The first is that of the robot (`ROBOT`), the second that of the workstation (`WORKSTATION`).
    Raises `DualsysError` where this user or this kernel can not make them.
    """
    names = tuple(f"dualsys-{who}-{os.getpid()}" for who in ("robot", "workstation"))
    made: list[str] = []
    ends: list[int] = []
    try:
        for name, own, other in zip(names, (ROBOT, WORKSTATION), (WORKSTATION, ROBOT), strict=True):
            _ip("netns", "add", name)
            made.append(name)
            _ip("-n", name, "link", "set", "lo", "up")
            ends.append(_tun(name))
            _ip("-n", name, "addr", "add", own, "peer", other, "dev", "wire")
            _ip("-n", name, "link", "set", "wire", "mtu", str(_MTU), "up")
        wire = Wire((ends[0], ends[1]), cable)
        try:
            yield names[0], names[1], wire
        finally:
            wire.stop()
    finally:
        for end in ends:
            os.close(end)
        for name in made:
            with suppress(DualsysError):
                _ip("netns", "del", name)


def _ip(*words: str) -> None:
    try:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise DualsysError("there is no `ip`; install iproute2") from error
    if done.returncode != 0:
        raise DualsysError(
            f"`ip {' '.join(words)}` failed ({done.stderr.strip()}); network namespaces need root"
        )


def _tun(namespace: str) -> int:
    """A file descriptor of a new TUN device `wire` in a namespace."""
    found: list[int | OSError] = []

    def inside() -> None:  # a namespace is a thread's: this one ends in it
        try:
            with Path(f"/run/netns/{namespace}").open("rb") as place:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(place.fileno(), _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            end = os.open("/dev/net/tun", os.O_RDWR)
            request = struct.pack("16sH22x", b"wire", _IFF_TUN | _IFF_NO_PI)
            fcntl.ioctl(end, _TUNSETIFF, request)
            found.append(end)
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    (end,) = found
    if isinstance(end, OSError):
        raise DualsysError(
            f"no TUN device can be made ({end}); it takes root and the kernel's module `tun`"
        )
    return end
