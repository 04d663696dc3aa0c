"""The plant behind its driver, on the wall clock: what raises or hangs ends in the fallback.

A driver's error becomes one that says where; a step of a robot that does not come back ends the
process, after the fallback went out by another way (`LiveWorld.stop`).
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dualsys.errors import DualsysError
from dualsys.spec import WorldSpec
from dualsys.workers import cause

LOOKS = 10  # of the watch, while the same step goes on, before it hangs
REMEDY = "mend the driver (docs/bring_your_own_robot.md)"


class Patience:
    """Judges by looks, not by time: a machine that stood still has not looked meanwhile. Pure."""

    def __init__(self) -> None:
        self._step, self._looks = 0, 0

    def look(self, step: int) -> bool:
        """Whether `step` (0: none) has gone on for `LOOKS` looks."""
        self._looks = self._looks + 1 if step and step == self._step else 0
        self._step = step
        return self._looks >= LOOKS


class Plant:
    """A world whose every call is accounted for; a robot's are watched besides."""

    def __init__(self, world: Any, scenario: str, patience_s: float) -> None:
        from sim.world import LiveWorld

        self.live = isinstance(world, LiveWorld)
        self._world, self._scenario, self._patience_s = world, scenario, patience_s
        self._spec: WorldSpec = world.world_spec
        self._steps, self._step = 0, 0
        self._stopped = False

    @property
    def instruction(self) -> str:
        """What is to be done, in words."""
        said: str = self._world.instruction
        return said

    def reset(self, seed: int) -> tuple[Any, dict[str, Any]]:
        """Start an episode. Raises `DualsysError` for a driver that raises, or shows nonsense."""
        self._stopped = False
        frame, info = self._called("reset", lambda: self._world.reset(seed=seed))
        return self._checked("reset", frame, info)

    def step(self, command: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Carry out a command. Raises `DualsysError` as `reset` does."""
        self._steps += 1
        self._step = self._steps
        try:
            found = self._called("step", lambda: self._world.step(command))
        finally:
            self._step = 0
        if not isinstance(found, tuple) or len(found) != 5:
            raise self._error("step", f"returned {_brief(found)}, a tuple of five was expected")
        frame, reward, terminated, truncated, info = found
        return *self._checked("step", frame, info)[:1], reward, terminated, truncated, info

    def stop(self, command: np.ndarray) -> None:
        """Send a robot its fallback, once; what its driver says to that is told and no more."""
        if not self.live or self._stopped:
            return
        self._stopped = True
        try:
            self._world.stop(command)
        except Exception as error:  # a driver that failed may fail again
            sys.stderr.write(
                f"dualsys world: stop() of {self._scenario} failed, the plant's own watchdog has "
                f"to stop it: {cause(error)}\n"
            )

    def close(self) -> None:
        """Let go of the plant."""
        self._world.close()

    def watch(
        self, fallback: Callable[[], np.ndarray], end: Callable[[int], Any] = os._exit
    ) -> None:
        """See to it from now on that no step of a robot hangs; the fallback is asked for then."""
        if self.live:
            watched = threading.get_ident()
            arguments = (watched, fallback, end)
            threading.Thread(target=self._watch, args=arguments, daemon=True).start()

    def _watch(
        self, watched: int, fallback: Callable[[], np.ndarray], end: Callable[[int], Any]
    ) -> None:
        patience, pause = Patience(), threading.Event()
        while not patience.look(self._step):
            pause.wait(self._patience_s / LOOKS)
        self.stop(fallback())
        sys.stderr.write(
            f"dualsys world: step() of {self._scenario} hangs for {self._patience_s:g} s "
            f"(runtime.step_patience_s) {_place(watched)}; the fallback went out, and the run is "
            f"ended; {REMEDY}\n"
        )
        sys.stderr.flush()
        end(2)

    def _called(self, what: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except DualsysError:
            raise
        except Exception as error:  # whatever a driver raises
            raise self._error(what, f"raised {cause(error)}") from error

    def _checked(self, what: str, frame: Any, info: Any) -> tuple[Any, dict[str, Any]]:
        fault = frame_fault(frame, info, self._spec)
        if fault is not None:
            raise self._error(what, fault)
        return frame, info

    def _error(self, what: str, told: str) -> DualsysError:
        end = "the fallback goes out and the run is ended" if self.live else "the run is ended"
        return DualsysError(f"{what}() of {self._scenario} {told}; {end}; {REMEDY}")


def frame_fault(frame: Any, info: Any, spec: WorldSpec) -> str | None:
    """What a frame or an info lacks to be one, with both sides; None if nothing.

    Numbers that are not finite are the shield's affair, and System 1's.
    """
    shapes: dict[str, tuple[tuple[int, ...], str]] = {
        "state": ((len(spec.state),), "float32"),
        "scene": ((spec.scene_rows, len(spec.scene_fields)), "float32"),
        **{f"image {c.name}": ((c.height, c.width, c.channels), "uint8") for c in spec.cameras},
    }
    try:
        there = {"state": frame["state"], "scene": frame["scene"]}
        there |= {f"image {name}": image for name, image in frame["images"].items()}
        lacking = {"success", "collision", "image_ticks", "metrics"} - set(info)
        lacking |= {f"image_ticks[{c.name!r}]" for c in spec.cameras} - {
            f"image_ticks[{name!r}]" for name in info.get("image_ticks", {})
        }
    except (TypeError, KeyError, AttributeError) as error:
        return f"shows no frame ({type(error).__name__}: {error}); sim/world.py says what it holds"
    if lacking:
        return (
            f"gives an info without {', '.join(sorted(lacking))}; sim/world.py says what it holds"
        )
    if set(there) != set(shapes):
        return (
            f"shows {', '.join(sorted(there))}; the specification has {', '.join(sorted(shapes))}"
        )
    for name, (shape, dtype) in shapes.items():
        array = there[name]
        if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype.name != dtype:
            return f"shows {name} as {_brief(array)}; the specification has {dtype} {shape}"
    return None


def _brief(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype.name} {value.shape}"
    return type(value).__name__


def _place(thread: int) -> str:
    """Where a thread is, in words."""
    frame = sys._current_frames().get(thread)
    if frame is None:
        return "somewhere"
    at = traceback.extract_stack(frame)[-1]
    return f"in {at.name}, {Path(at.filename).name}:{at.lineno}"
