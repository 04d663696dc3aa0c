"""The machine: processor, GPU, clock, scheduler, stalls, sockets and disk."""

from __future__ import annotations

import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

import zmq

from dualsys.bus import Publisher, ipc
from dualsys.clock import MonotonicClock, StallDetector, sleep_until
from dualsys.doctor.finding import Finding
from dualsys.errors import DualsysError
from kernels import hardware

RESOLUTION_NS, LATENESS_US = 1_000, 100.0  # of the clock; of a wait that spins at its end
STALLED = 0.002  # share of the time that a machine may stand still
DISK_MB_S = 50.0  # a log of four cameras at 20 Hz takes about a fifth of it


def processor() -> Finding:
    """What computes where there is no GPU; a control loop wants a core to itself."""
    cores = len(os.sched_getaffinity(0))
    found = f"{hardware.processor()['processor']}, {cores} core(s) for this process"
    if cores > 1:
        return Finding("processor", "good", found)
    return Finding("processor", "weak", found, "give it two: System 2 must not wait for System 1")


def gpu() -> Finding:
    """The first GPU and its driver; a processor does, more slowly."""
    try:
        told = hardware.gpu()
    except DualsysError as error:
        found, _, remedy = str(error).partition("; ")
        return Finding("GPU", "weak", found, remedy)
    words = ("gpu", "compute_capability", "driver", "cuda")
    found = ", ".join(f"{word.replace('_', ' ')} {told[word]}" for word in words)
    return Finding("GPU", "good", found.removeprefix("gpu "))


def clock(rounds: int = 100) -> Finding:
    """Resolution of the monotonic clock, and how late a wait for a deadline ends."""
    monotonic, late = MonotonicClock(), list[float]()
    for _ in range(rounds):
        deadline = monotonic.now_ns() + 2_000_000
        sleep_until(deadline, monotonic)
        late.append((monotonic.now_ns() - deadline) / 1e3)
    resolution = time.get_clock_info("monotonic").resolution * 1e9
    return judged_clock(resolution, statistics.median(late))


def judged_clock(resolution_ns: float, late_us: float) -> Finding:
    """What such a clock is good for."""
    found = f"resolution {resolution_ns:.0f} ns, deadlines met {late_us:.1f} us late (median)"
    if resolution_ns <= RESOLUTION_NS and late_us <= LATENESS_US:
        return Finding("clock", "good", found)
    remedy = "choose another clocksource, or end what else runs on this machine"
    return Finding("clock", "weak", found, remedy)


def scheduler() -> list[Finding]:
    """Whether this user may run before others (SCHED_FIFO) and keep memory (mlockall)."""
    may = real_time_allowed()
    locked, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    unlimited = locked == resource.RLIM_INFINITY or os.geteuid() == 0
    remedy = "add '{} - {} ...' to /etc/security/limits.conf for this user, and log in anew"
    return [
        Finding("real-time priority", "good", "SCHED_FIFO may be used")
        if may
        else Finding("real-time priority", "weak", "not allowed", remedy.format("USER", "rtprio")),
        Finding("locked memory", "good", "without a limit")
        if unlimited
        else Finding(
            "locked memory", "weak", f"{locked >> 10} KiB", remedy.format("USER", "memlock")
        ),
    ]


def real_time_allowed() -> bool:
    """Ask the kernel by taking the lowest real-time priority, and giving it back."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        return False
    os.sched_setscheduler(0, policy, parameters)
    return True


def stalls(watch_s: float) -> Finding:
    """How often, and how long, the machine stood still while nothing was asked of it."""
    detector = StallDetector(MonotonicClock())
    detector.start()
    time.sleep(watch_s)
    return judged_stalls(detector.stop(), watch_s)


def judged_stalls(met: list[tuple[int, int]], watch_s: float) -> Finding:
    """What such gaps (from, to) [ns] mean for a control loop."""
    still_ms = sum(end - begin for begin, end in met) / 1e6
    longest = max((end - begin for begin, end in met), default=0) / 1e6
    found = f"{len(met)} in {watch_s:g} s, the longest {longest:.0f} ms"
    if still_ms <= 1e3 * STALLED * watch_s:
        return Finding("stalls", "good", found)
    remedy = "end what else runs here, or choose a machine that is not shared; ticks will be missed"
    return Finding("stalls", "weak", found, remedy)


def sockets() -> list[Finding]:
    """Whether the two kinds of link can be bound."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        links = {"ipc sockets": ipc(Path(name), "doctor"), "loopback": "tcp://127.0.0.1:*"}
        for what, endpoint in links.items():
            try:
                Publisher(endpoint).close()
            except (DualsysError, zmq.ZMQError, OSError) as error:
                remedy = "see whether a sandbox or a firewall forbids it; runs need both"
                found.append(Finding(what, "bad", str(error), remedy))
            else:
                found.append(Finding(what, "good", "can be bound"))
    return found


def disk(folder: Path, megabytes: int = 64) -> Finding:
    """How fast `folder`, or the nearest one above it, takes a log."""
    while not folder.is_dir():
        folder = folder.parent
    block = os.urandom(2**20)
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            begun = time.monotonic()
            for _ in range(megabytes):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            speed = megabytes * 2**20 / 1e6 / (time.monotonic() - begun)
    except OSError as error:
        found = f"{folder} takes no file ({error.strerror})"
        return Finding("disk", "bad", found, "make room or rights there, or give out=DIR")
    return judged_disk(folder, speed)


def judged_disk(folder: Path, mb_per_s: float) -> Finding:
    """Whether a log can be written at that speed [MB/s]."""
    found = f"{mb_per_s:.0f} MB/s to {folder.resolve()}"
    if mb_per_s >= DISK_MB_S:
        return Finding("disk", "good", found)
    return Finding("disk", "weak", found, f"write runs to a disk of {DISK_MB_S:.0f} MB/s or more")
