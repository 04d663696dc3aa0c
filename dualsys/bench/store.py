"""Finished episodes on disk, one file each: an interrupted benchmark goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from dualsys.errors import DualsysError

SCHEMA = "dualsys-bench/2"
HEADER = "header.json"
REPORT = "bench.json"
SITTINGS = "sittings"  # the one part of a header that may differ when a benchmark goes on
GROWING = ("variants", "contents")  # parts to which something may be added

Row = dict[str, Any]


class Cell(msgspec.Struct, frozen=True):
    """One episode of the benchmark: who drove, where, and with which seed."""

    variant: str
    scenario: str
    seed: int

    @property
    def text(self) -> str:
        """As it is named to people."""
        return f"{self.variant}, {self.scenario}, seed {self.seed}"


class Store:
    """The folder of one benchmark. Raises `DualsysError` where another one stands already.

    `identity` says what was asked and which code and files answer; a folder that was begun with
    another one is refused, field by field; what is `GROWING` may have grown, for what a variant did
    depends on itself and on those before it. `sitting` says who works at it this time: it is added
    to the header and changes no result.
    """

    def __init__(self, root: Path, identity: dict[str, Any], sitting: dict[str, Any]) -> None:
        self.root, path = root, root / HEADER
        sittings: list[dict[str, Any]] = []
        if path.is_file():
            there = read_header(root)
            sittings = there.pop(SITTINGS)
            now = msgspec.json.decode(msgspec.json.encode(identity))
            for part in GROWING:
                now[part] = {k: v for k, v in now.get(part, {}).items() if k in there[part]}
            differ = _differences(there, now)
            if differ:
                raise DualsysError(
                    f"{root} holds another benchmark ({'; '.join(differ)}); use another out=, or "
                    "finish it with the code, files and words that began it"
                )
        elif root.is_dir() and any(root.iterdir()):
            raise DualsysError(
                f"{root} is no folder of a benchmark and not empty; use another out="
            )
        self._sitting = {**sitting, "elapsed_s": None}
        self._header = {**identity, SITTINGS: [*sittings, self._sitting]}
        write(path, _readable(self._header))

    def ended(self, elapsed_s: float) -> None:
        """Note in the header how long this sitting took."""
        self._sitting["elapsed_s"] = round(elapsed_s, 3)
        write(self.root / HEADER, _readable(self._header))

    def report(self, content: dict[str, Any]) -> None:
        """Write what the benchmark came to: equal bytes for equal content."""
        write(self.root / REPORT, _readable(content))

    def has(self, cell: Cell) -> bool:
        """Whether this episode is finished."""
        return episode_path(self.root, cell).is_file()

    def put(self, cell: Cell, row: Row) -> None:
        """Keep a finished episode; it appears whole or not at all."""
        write(episode_path(self.root, cell), msgspec.json.encode(row, order="sorted"))

    def get(self, cell: Cell) -> Row:
        """The row of a finished episode. Raises `DualsysError` when it is missing or broken."""
        return read_row(self.root, cell)

    def settled(
        self, variant: str, scenario: str, words: Callable[[], tuple[str, ...]]
    ) -> tuple[str, ...]:
        """The words under which a variant first ran in a scenario; `words()` if it has not yet.

        A random gate keeps its rates when seeds are added: its episodes stay of one kind.
        """
        path = self.root / "words" / slug(variant) / f"{slug(scenario)}.json"
        if not path.is_file():
            write(path, msgspec.json.encode(words()))
        first: tuple[str, ...] = msgspec.json.decode(path.read_bytes(), type=tuple[str, ...])
        return first


def slug(name: str) -> str:
    """A name as a folder's."""
    return "".join(c if c.isalnum() or c in "-.@" else "_" for c in name)


def episode_path(root: Path, cell: Cell) -> Path:
    """Where a benchmark's folder keeps a finished episode."""
    return root / "episodes" / slug(cell.variant) / slug(cell.scenario) / f"{cell.seed}.json"


def read_row(root: Path, cell: Cell) -> Row:
    """The row of a finished episode. Raises `DualsysError` when it is missing or broken."""
    try:
        row: Row = msgspec.json.decode(episode_path(root, cell).read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise DualsysError(
            f"the episode {cell.text} of {root} can not be read ({error}); delete its "
            "file and run the benchmark again"
        ) from error
    return row


def read_header(root: Path) -> dict[str, Any]:
    """What a benchmark's folder says of itself. Raises `DualsysError` when it is none."""
    try:
        header: dict[str, Any] = msgspec.json.decode((root / HEADER).read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise DualsysError(f"{root} is no folder of a benchmark ({HEADER}: {error})") from error
    if header.get("schema") != SCHEMA:
        raise DualsysError(
            f"{root} has schema {header.get('schema')!r}, this version reads {SCHEMA!r}; run the "
            "benchmark again"
        )
    return header


def write(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all. Raises `OSError` that names it."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)  # half a file is of no use, and the disk may be full
        raise OSError(error.errno, error.strerror, str(path)) from error


def _readable(content: dict[str, Any]) -> bytes:
    # As it was put together: variants in the order of their table.
    return msgspec.json.format(msgspec.json.encode(content), indent=1)


def _differences(there: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Both sides of every field that differs; of a table of fields, only those."""
    found = []
    for key in sorted({*there, *now}):
        one, other = there.get(key), now.get(key)
        if one == other:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            found += [f"{key}, {told}" for told in _differences(one, other)]
        else:
            found.append(f"{key}: there {one}, now {other}")
    return found
