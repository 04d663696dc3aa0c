"""Chooses the engine: the first of the wanted list that can be made and passes the parity gate."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from dualsys.errors import DualsysError, UnknownNameError
from kernels import parity
from kernels.cache import NotBuiltError, Prepared
from kernels.engine import Engine
from kernels.manifest import Identity, digest
from kernels.recipe import Recipe
from kernels.registry import DIRECT, ENGINES, RECIPES


class Choice(msgspec.Struct, frozen=True):
    """The engine that will run, and why each one before it in the list will not."""

    engine: Engine
    refused: dict[str, str]
    checked: str  # what it was compared with torch on

    @property
    def told(self) -> dict[str, Any]:
        """What a run's header says of it."""
        return {"used": self.engine.name, "refused": self.refused, "checked_on": self.checked}


def choose(names: Sequence[str], prepared: Prepared, threads: int, build: bool) -> Choice:
    """The first usable engine of `names`; with `build`, quick ones are built where they lack.

    Raises `UnknownNameError` for a name that is no engine and `DualsysError` with every reason
    when none is usable.
    """
    require_engines(names)
    refused: dict[str, str] = {}
    for name in names:
        try:
            engine = opened(prepared, name, threads, build)
        except DualsysError as error:
            refused[name] = str(error)
            continue
        fault = parity.compare(engine, prepared.reference).fault(engine.precision)
        if fault is None:
            return Choice(engine, refused, prepared.reference.source)
        refused[name] = fault
    other = "torch" if prepared.network.file is None else "onnxruntime"
    raise DualsysError(
        f"no engine of {list(names)} can be used: {refused}; add {other} to the list"
    )


def require_engines(names: Sequence[str]) -> None:
    """Raise `UnknownNameError` for a name that is no engine."""
    for name in names:
        if name not in ENGINES:
            raise UnknownNameError("engine", name, ENGINES)


def opened(prepared: Prepared, name: str, threads: int, build: bool) -> Engine:
    """The engine `name` of a network, not compared with torch yet.

    Raises `NotBuiltError` where it would have to be built first: without `build`, or because that
    takes long.
    """
    if name in DIRECT:
        return DIRECT[name](*prepared.made)
    recipe = RECIPES[name]
    identity = identity_of(prepared, recipe, threads)
    try:
        content = prepared.get(identity)
    except NotBuiltError:
        if not (build and recipe.quick):
            raise
        content = built(prepared, name, threads)
    return recipe.open(content, threads)


def identity_of(prepared: Prepared, recipe: Recipe, threads: int) -> Identity:
    """What an engine's file would depend on, here and now."""
    return Identity(
        recipe.name,
        recipe.precision,
        dict(prepared.network.identity),
        digest(prepared.graph),
        prepared.reference.specs,
        recipe.flags(threads),
        recipe.software(),
        recipe.hardware(),
    )


def built(prepared: Prepared, name: str, threads: int) -> bytes:
    """Build an engine and keep its file."""
    recipe = RECIPES[name]
    identity = identity_of(prepared, recipe, threads)
    start = time.monotonic()
    content = recipe.build(prepared.graph, threads)
    prepared.put(identity, content, time.monotonic() - start)
    return content
