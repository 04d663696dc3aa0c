"""System 2's own process where there is no run: made for a world, looked after, ended."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from dualsys.bus import ipc
from dualsys.clock import Clock
from dualsys.messages import Introduction
from dualsys.runtime.nodes.common import ANY_SESSION, Run
from dualsys.supervisor.supervisor import Supervisor
from dualsys.supervisor.table import of_config

NODE = "system2"


class Room:
    """System 2's process for one world, with its supervisor; it listens at `address`."""

    def __init__(self, config: dict[str, Any], words: Introduction, clock: Clock) -> None:
        self.suits = wanted(words)
        self._folder = Path(tempfile.mkdtemp(prefix="dualsys-"))  # private (0700), short
        inside = {key: "" for key in ("requests", "bind", "server_keys", "client_keys")}
        mine = {**config, "link": {**config["link"], **inside}, "faults": {"declared": []}}
        run = Run(mine, "", [], ANY_SESSION, words.spec, words.plans, 0.0, recorders=0, watchers=1)
        run.config["system2"] = {**config["system2"], "budget": words.budget}
        (self._folder / "run.json").write_bytes(msgspec.json.encode(run))
        table = of_config(config["supervisor"])
        self._supervisor = Supervisor(table, {NODE: table.processes[NODE]}, self._folder, clock)
        self._supervisor.begin()
        self.address = ipc(self._folder, "requests")

    def step(self, now_ns: int) -> None:
        """Look after the process."""
        self._supervisor.step(now_ns)

    @property
    def state(self) -> tuple[str, str]:
        """How far it is, and why no further."""
        keeper = self._supervisor.keepers[NODE]
        if keeper.latched is not None:
            return "refused", self._error() or keeper.latched
        return ("ready", "") if keeper.alive else ("loading", "System 2 loads its model")

    def _error(self) -> str:
        left = self._folder / f"{NODE}.json"
        told = msgspec.json.decode(left.read_bytes()) if left.is_file() else {}
        return str(told.get("error", ""))

    def close(self) -> None:
        """End the process."""
        self._supervisor.end()
        shutil.rmtree(self._folder, ignore_errors=True)


def wanted(words: Introduction) -> tuple[Any, ...]:
    """What a room has to be made for: worlds, plans and budgets that are equal can share one."""
    return words.spec.fingerprint, tuple(sorted(words.plans.items())), words.budget
