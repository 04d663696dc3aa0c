"""Worlds, policies and planners of others: entry points of installed packages.

For a quick try a policy or a planner may also be named by its place, FILE.py:NAME or
PACKAGE.MODULE:NAME. Only the words of a command may do so: what was read from a file (a log, the
results of a run) names no code, see `require_installed`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import msgspec

from dualsys.errors import DualsysError, UnknownNameError
from dualsys.workers import cause

WORLDS, POLICIES, PLANNERS = "dualsys.worlds", "dualsys.policies", "dualsys.planners"
PLACE = "FILE.py:NAME"


class Plugin(msgspec.Struct, frozen=True):
    """Something that makes a world, a policy or a planner, and whose it is.

    source: the package and its version, or the file and a digest of it; file: where the code is.
    """

    make: Callable[..., Any]
    source: str
    file: str

    def made(self, what: str, *given: Any) -> Any:
        """Make one, called with `given`; raises `DualsysError` that says why there is none."""
        try:
            return self.make(*given)
        except DualsysError:
            raise
        except Exception as error:  # whatever the code of others raises
            raise DualsysError(
                f"the {what} ({self.source}) can not be made: {cause(error)}; it is called with "
                f"({', '.join(type(value).__name__ for value in given)})"
            ) from error


def names(group: str) -> list[str]:
    """What installed packages offer in a group."""
    return sorted({entry.name for entry in entry_points(group=group)})


def is_place(name: str) -> bool:
    """Whether a name says where code is, instead of naming something installed."""
    return ":" in name


def find(group: str, kind: str, name: str, known: Iterable[str] = ()) -> Plugin:
    """What is offered as `name`, loaded.

    `kind` says what it is ("policy (system1.driver)"), `known` which names there are besides.
    Raises `UnknownNameError` that lists them all, and `DualsysError` for code that does not load.
    """
    if is_place(name):
        return _at(kind, name)
    offered = list(entry_points(group=group, name=name))
    if not offered:
        places = [] if group == WORLDS else [PLACE]
        raise UnknownNameError(kind, name, [*known, *names(group), *places])
    if len(offered) > 1:
        raise DualsysError(
            f"the {kind} {name!r} is offered by {' and by '.join(map(_owner, offered))}; uninstall "
            "all but one"
        )
    (entry,) = offered
    try:
        make = entry.load()
    except Exception as error:  # whatever the code of others raises when it is imported
        raise DualsysError(
            f"{_owner(entry)} offers the {kind} {name!r} as {entry.value}, which can not be "
            f"loaded: {cause(error)}; mend that package or install it anew"
        ) from error
    return Plugin(_callable(make, kind, name), _owner(entry), _file_of(make, entry.module))


def require_installed(source: str, named: Iterable[str]) -> None:
    """Raise `DualsysError` where one of the names, read from `source`, is a place of code."""
    for name in named:
        if is_place(name):
            raise DualsysError(
                f"{source} names code by its place ({name}), and nothing that was read from a "
                "file may say what code runs; install it as a package with an entry point, and "
                "make this run again with its name"
            )


def _owner(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else entry.module


def _at(kind: str, name: str) -> Plugin:
    """What stands in a file or a module."""
    where, _, wanted = name.rpartition(":")
    try:
        module = _of_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
        make = getattr(module, wanted)
    except Exception as error:  # as above
        raise DualsysError(
            f"the {kind} {name!r} can not be loaded: {cause(error)}; give {PLACE} with a path from "
            "here, or PACKAGE.MODULE:NAME of something installed"
        ) from error
    file = _file_of(make, module.__name__)
    content = Path(file).read_bytes() if file else b""
    source = f"{where} {hashlib.sha256(content).hexdigest()[:16]}"
    return Plugin(_callable(make, kind, name), source, file)


def _of_file(path: Path) -> Any:
    """A file as a module, the same one however often it is asked for."""
    path = path.resolve(strict=True)
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _callable(made: Any, kind: str, name: str) -> Callable[..., Any]:
    if not callable(made):
        raise DualsysError(
            f"the {kind} {name!r} is {type(made).__name__}, a class or a function that makes one "
            "was expected"
        )
    found: Callable[..., Any] = made
    return found


def _file_of(made: Any, otherwise: str) -> str:
    """Where something was written; a package may offer what another of its modules holds."""
    module = sys.modules.get(getattr(made, "__module__", None) or otherwise)
    return str(getattr(module, "__file__", None) or "")
