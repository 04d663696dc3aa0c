"""Which engine and which device a benchmark ran on: a mixture, as of two machines, is refused."""

from __future__ import annotations

from typing import Any

import msgspec

from dualsys.bench.store import Cell, Row
from dualsys.errors import DualsysError


class Engines:
    """What came of each choice: System 1's engine, and the device on which System 2 thinks.

    The choice of an engine is that of driver, checkpoint and list of engines; of a device, planner,
    checkpoint, list of engines and setting ("auto" is a GPU where there is one).
    """

    def __init__(self) -> None:
        self._engines: dict[bytes, tuple[Cell, str]] = {}
        self._devices: dict[bytes, tuple[Cell, str]] = {}

    def take(self, cell: Cell, config: dict[str, Any], row: Row) -> None:
        """Note an episode's "engine" and "device" (None: System 2 has no model of its own here).

        Raises `DualsysError` where others had another one.
        """
        system1, system2 = config["system1"], config["system2"]
        choice = [system1["driver"], system1["checkpoint"], system1["samples"], config["engine"]]
        used = row["engine"]
        first, before = self._engines.setdefault(msgspec.json.encode(choice), (cell, used))
        if before != used:
            raise DualsysError(
                f"the episode {cell.text} ran on the engine {used}, {first.text} on {before}: "
                "engines round differently, one benchmark has one; finish it where the engine "
                f"{before} runs, or begin anew with engine= and another out="
            )
        if row["device"] is None:
            return
        keys = ("name", "checkpoint", "engine", "device")
        choice, used = [system2[k] for k in keys], row["device"]
        first, before = self._devices.setdefault(msgspec.json.encode(choice), (cell, used))
        if before != used:
            raise DualsysError(
                f"in the episode {cell.text} System 2 thought on {used}, in {first.text} on "
                f"{before}: devices round differently, one benchmark has one; finish it where "
                f"system2.device={system2['device']} means {before} (CUDA_VISIBLE_DEVICES= hides a "
                "GPU), or begin anew with system2.device= and another out="
            )
