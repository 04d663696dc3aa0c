"""Finished episodes on disk, one file each: an interrupted benchmark goes on where it stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from dualsys.errors import DualsysError

SCHEMA = "dualsys-bench/1"
HEADER = "header.json"

Row = dict[str, Any]


class Cell(msgspec.Struct, frozen=True):
    """One episode of the benchmark: who drove, where, and with which seed."""

    variant: str
    scenario: str
    seed: int


class Store:
    """The folder of one benchmark. Raises `DualsysError` where another one stands already.

    `header` says what was asked and which code answers; a folder that was begun with another one
    is refused, field by field.
    """

    def __init__(self, root: Path, header: dict[str, Any]) -> None:
        self.root, path = root, root / HEADER
        if path.is_file():
            there = read_header(root)
            now = msgspec.json.decode(msgspec.json.encode(header))
            differ = [k for k in sorted({*there, *now} - {"command"}) if there.get(k) != now.get(k)]
            if differ:
                told = "; ".join(f"{k}: there {there.get(k)}, now {now.get(k)}" for k in differ)
                raise DualsysError(
                    f"{root} holds another benchmark ({told}); use another out=, or finish it with "
                    "the code and words that began it"
                )
            return
        if root.is_dir() and any(root.iterdir()):
            raise DualsysError(
                f"{root} is no folder of a benchmark and not empty; use another out="
            )
        _write(path, msgspec.json.format(msgspec.json.encode(header, order="sorted"), indent=1))

    def has(self, cell: Cell) -> bool:
        """Whether this episode is finished."""
        return self._path(cell).is_file()

    def put(self, cell: Cell, row: Row) -> None:
        """Keep a finished episode; it appears whole or not at all."""
        _write(self._path(cell), msgspec.json.encode(row, order="sorted"))

    def get(self, cell: Cell) -> Row:
        """The row of a finished episode. Raises `DualsysError` when it is missing or broken."""
        try:
            row: Row = msgspec.json.decode(self._path(cell).read_bytes())
        except (OSError, msgspec.DecodeError) as error:
            raise DualsysError(
                f"the episode {cell.variant}, {cell.scenario}, seed {cell.seed} of {self.root} can "
                f"not be read ({error}); delete its file and run the benchmark again"
            ) from error
        return row

    def settled(self, variant: str, words: tuple[str, ...]) -> tuple[str, ...]:
        """The words under which a variant first ran here; these ones if it has not run yet.

        A random gate keeps its rate when seeds are added: its episodes stay of one kind.
        """
        path = self.root / "words" / f"{slug(variant)}.json"
        if not path.is_file():
            _write(path, msgspec.json.encode(words))
        first: tuple[str, ...] = msgspec.json.decode(path.read_bytes(), type=tuple[str, ...])
        return first

    def _path(self, cell: Cell) -> Path:
        folder = self.root / "episodes" / slug(cell.variant) / slug(cell.scenario)
        return folder / f"{cell.seed}.json"


def slug(name: str) -> str:
    """A name as a folder's."""
    return "".join(c if c.isalnum() or c in "-.@" else "_" for c in name)


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


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(data)
    partial.replace(path)
