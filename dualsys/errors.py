"""The errors a user can cause; the command line prints each as one line and exits with 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DualsysError(Exception):
    """A failure with a remedy: the text names what was expected, what was found and what to do."""


class SpecMismatchError(DualsysError):
    """Two sides (world, checkpoint, message) disagree about cameras, shapes, units or rates."""


class CodecError(DualsysError):
    """A frame that can not be decoded: truncated, oversized, foreign version, forbidden dtype."""


class VersionError(CodecError):
    """A frame of another protocol version."""


class UnknownNameError(DualsysError):
    """A name that is not in a registry or a configuration group; lists the valid ones."""

    def __init__(self, kind: str, name: str, valid: Iterable[str]) -> None:
        names = sorted(valid)
        self._parts = (kind, name, names)
        close = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        super().__init__(f"unknown {kind} {name!r}.{hint} Valid: {', '.join(names)}")

    def __reduce__(self) -> tuple[type[UnknownNameError], tuple[str, str, list[str]]]:
        """Survive the way back from a worker process."""
        return UnknownNameError, self._parts


class WorkerError(DualsysError):
    """A worker process died, or its work failed with something that is no `DualsysError`.

    `what` says what happened, without the remedy.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"{what}; what was finished is kept, run the same command again")

    def __reduce__(self) -> tuple[type[WorkerError], tuple[str]]:
        """Survive the way back from a worker process."""
        return WorkerError, (self.what,)


def refusal(error: OSError) -> str:
    """What the system refused, in words: "No space left on device: runs/bench/header.json"."""
    if error.strerror is None:
        return str(error) or type(error).__name__
    return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
