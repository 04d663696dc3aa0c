"""How a kind of engine is built from a graph, kept as a file, and opened again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from dualsys.errors import DualsysError
from kernels.engine import Engine


def require_precision(engine: str, precision: str, known: Iterable[str]) -> None:
    """Raise `DualsysError` for a precision that a kind of engine does not compute in."""
    if precision not in (names := list(known)):
        raise DualsysError(
            f"engine {engine} computes in {' or '.join(names)}, {precision} was asked for"
        )


class Recipe(Protocol):
    """One kind of engine that is made of an ONNX graph.

    quick: it is built in seconds, so that a launcher may do it; others are built by
    `dualsys build` alone. Every method raises `DualsysError` where this machine can not do it.
    """

    name: str
    precision: str
    quick: bool

    def flags(self, threads: int) -> dict[str, str]:
        """The settings that it is built with."""
        ...

    def software(self) -> dict[str, str]:
        """The versions of the libraries that its file depends on."""
        ...

    def hardware(self) -> dict[str, str]:
        """The parts of the machine that its file depends on."""
        ...

    def build(self, graph: bytes, threads: int) -> bytes:
        """The content of its file."""
        ...

    def open(self, content: bytes, threads: int) -> Engine:
        """The engine of such a content."""
        ...
