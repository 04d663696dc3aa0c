"""Starts the processes of a run, listens for their signs of life, and ends every one of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dualsys.bus import Subscriber, ipc
from dualsys.clock import Clock
from dualsys.errors import DualsysError
from dualsys.messages import Message
from dualsys.supervisor.keeper import Keeper, told
from dualsys.supervisor.notify import Notifier
from dualsys.supervisor.table import WORLD, ProcessRow, SupervisorConfig

PERIOD_S = 0.02
ASLEEP_S = 1.0  # since the last look: then this process did not run, nor perhaps the others
LAST = "recorder"  # ends after the others, so that it holds what they sent at the end

Processes = dict[str, subprocess.Popen[bytes]]


class Supervisor:
    """One run's processes. Each has a process group of its own, so that nothing of it survives."""

    def __init__(
        self,
        config: SupervisorConfig,
        rows: dict[str, ProcessRow],
        folder: Path,
        clock: Clock,
        strikes: Callable[[], list[tuple[str, signal.Signals]]] = list,
        lives: Callable[[Message], None] = lambda message: None,
        notifier: Notifier = Notifier(),  # noqa: B008  says nothing
    ) -> None:
        """`folder` holds the run's sockets; nodes are `python -m dualsys.runtime.nodes`.

        `strikes` says which signals a declared fault has for which process now; `lives` is given
        every sign of life; `notifier` tells the system's service manager that all is well.
        """
        self._strikes, self._lives, self._notifier = strikes, lives, notifier
        self._config, self._rows, self._folder, self._clock = config, rows, folder, clock
        self.keepers = {name: Keeper(name, row, config) for name, row in rows.items()}
        self.processes: Processes = {}
        self._healths: dict[str, Subscriber] = {}
        self._looked_ns: int | None = None

    def run(self, started: Callable[[Processes, Path], None]) -> None:
        """Keep the processes up until the world ends; then, and whatever happens, end them all.

        Raises `DualsysError` when the world fails, and when another process was given up without
        which nothing is worth going on: System 1, the recorder.
        """
        with terminable():
            try:
                self.begin()
                started(self.processes, self._folder)
                while self._goes_on():
                    time.sleep(PERIOD_S)
            finally:
                with uninterrupted():
                    self._notifier.stopping()
                    self.end()

    def _goes_on(self) -> bool:
        now = self._clock.now_ns()
        self.step(now)
        if self.keepers[WORLD].alive:
            self._notifier.ready("the world runs")
        self._notifier.alive(now)
        return self._is_worth_it()

    def begin(self) -> None:
        """Start every process."""
        self._healths = {
            name: Subscriber(ipc(self._folder, f"health_{name}")) for name in self._rows
        }
        for name in self._rows:
            self._start(name)

    def step(self, now: int) -> None:
        """Look after every process, at `now` [ns]."""
        self._allow_for_sleep(now)
        for name, number in self._strikes():
            if name in self.processes:
                _signal(self.processes[name], number)
        for name, keeper in self.keepers.items():
            for sign in self._healths[name].every():
                keeper.beat(now)
                self._lives(sign)
            self._look(name, keeper)
            order = keeper.decide(now)
            if order == "kill":
                sys.stderr.write(f"dualsys: {name} gives no sign of life and is killed\n")
                _signal(self.processes[name], signal.SIGKILL)
            elif order == "start":
                sys.stderr.write(f"dualsys: {name} is started again\n")
                self._start(name)

    def _allow_for_sleep(self, now_ns: int) -> None:
        looked, self._looked_ns = self._looked_ns, now_ns
        gap_ns = 0 if looked is None else now_ns - looked
        if gap_ns > ASLEEP_S * 1e9:
            sys.stderr.write(
                f"dualsys: the supervisor stood still for {gap_ns / 1e9:.1f} s; nobody is blamed\n"
            )
            for keeper in self.keepers.values():
                keeper.pause(gap_ns)

    def _look(self, name: str, keeper: Keeper) -> None:
        process = self.processes.get(name)
        if process is None or process.poll() is None:
            return
        del self.processes[name]
        _signal(process, signal.SIGKILL)  # whatever it left behind
        keeper.ended(self._clock.now_ns(), process.returncode)
        if name == WORLD and process.returncode != 0:
            raise DualsysError(
                f"the world ended with {told(process.returncode)}; see the messages above"
            )
        if keeper.latched is not None:
            sys.stderr.write(f"dualsys: {keeper.latched}\n")

    def _is_worth_it(self) -> bool:
        """Whether the world is there, and System 1 and the recorder can still come back."""
        for name in ("system1", LAST):
            keeper = self.keepers.get(name)
            if keeper is not None and keeper.latched is not None:
                raise DualsysError(f"the run is ended: {keeper.latched}")
        return WORLD in self.processes

    def _start(self, name: str) -> None:
        words = self._rows[name].command or (
            sys.executable,
            "-m",
            "dualsys.runtime.nodes",
            name,
            "{folder}",
            "{parent}",
        )
        folder, known = ("{folder}", str(self._folder)), {"{parent}": str(os.getpid())}
        command = [known.get(word, word.replace(*folder)) for word in words]
        try:
            self.processes[name] = subprocess.Popen(command, start_new_session=True)
        except OSError as error:
            raise DualsysError(
                f"{name} can not be started ({error.strerror}: {command[0]}); mend "
                f"supervisor.processes.{name}.command"
            ) from error
        self.keepers[name].started(self._clock.now_ns())

    def end(self) -> None:
        """Ask all to end, and kill those that do not; the recorder after the others."""
        for names in ([n for n in self.processes if n != LAST], [LAST]):
            asked = {n: self.processes[n] for n in names if n in self.processes}
            for process in asked.values():
                _signal(process, signal.SIGINT)
            until = time.monotonic() + self._config.stop_s
            for name, process in asked.items():
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, until - time.monotonic()))
                if process.poll() is None:
                    sys.stderr.write(f"dualsys: {name} does not end and is killed\n")
                _signal(process, signal.SIGKILL)
                process.wait()
        for subscriber in self._healths.values():
            subscriber.close()

    @property
    def report(self) -> dict[str, dict[str, int | str]]:
        """Restarts of each process, and why one was given up."""
        told_of: dict[str, dict[str, int | str]] = {}
        for name, keeper in self.keepers.items():
            told_of[name] = {"restarts": keeper.restarts}
            if keeper.latched is not None:
                told_of[name]["given_up"] = keeper.latched
        return told_of


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """To the whole group of a process, ended or not; a group that is gone needs none."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


@contextmanager
def terminable() -> Iterator[None]:
    """Treat being told to end (SIGTERM) as Ctrl-C: in order, with everything recorded."""
    try:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:  # not the main thread: whoever has it decides
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let a second Ctrl-C not cut short what the first one began."""
    numbers = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        # What was pressed meanwhile is done with.
        for number in numbers & signal.sigpending():
            signal.sigwait({number})
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
