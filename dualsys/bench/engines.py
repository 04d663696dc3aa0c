"""Which engine a benchmark ran on: a mixture, as of two machines, is refused."""

from __future__ import annotations

from typing import Any

import msgspec

from dualsys.bench.store import Cell
from dualsys.errors import DualsysError


class Engines:
    """The engine that came of each choice (driver, checkpoint and list of engines)."""

    def __init__(self) -> None:
        self._first: dict[bytes, tuple[Cell, str]] = {}

    def take(self, cell: Cell, config: dict[str, Any], used: str) -> None:
        """Note an episode's engine. Raises `DualsysError` where others had another one."""
        system1 = config["system1"]
        choice = [system1["driver"], system1["checkpoint"], system1["samples"], config["engine"]]
        first, before = self._first.setdefault(msgspec.json.encode(choice), (cell, used))
        if before != used:
            raise DualsysError(
                f"the episode {cell.text} ran on the engine {used}, {first.text} on {before}: "
                "engines round differently, one benchmark has one; finish it where the engine "
                f"{before} runs, or begin anew with engine= and another out="
            )
