"""What is done before the first training step, told as it goes on: it can take many minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

Told = Callable[[str, float], None]  # what is done, and which share of it, from 0 to 1


def quiet(what: str, share: float) -> None:
    """Tell nobody."""


def before_steps(progress: Callable[[int, dict[str, float]], None]) -> Told:
    """Tell it to a training's `progress`, as of step 0."""
    return lambda what, share: progress(0, {what: share})


def spans(count: int, size: int, what: str = "reading", told: Told = quiet) -> Iterator[list[int]]:
    """The places 0..count, at most `size` at a time; tells how far one got after each."""
    for at in range(0, count, size):
        end = min(at + size, count)
        yield list(range(at, end))
        told(what, end / count)
