"""Independent jobs on several worker processes: of this machine, or of a Ray cluster."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from dualsys.errors import DualsysError, WorkerError

Job = TypeVar("Job")
Found = TypeVar("Found")
DIED = "a worker process died (killed, or out of memory: then give fewer workers=)"


def guarded(work: Callable[[Job], Found], job: Job) -> Found:
    """What `work` returns for the job; any error comes back as a `DualsysError` of one line."""
    try:
        return work(job)
    except DualsysError:
        raise
    except Exception as error:
        raise WorkerError(f"a worker failed: {cause(error)}") from error


def cause(error: Exception) -> str:
    """An unexpected error and the place that raised it, in one line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return text
    return f"{text} (in {frames[-1].name}, {Path(frames[-1].filename).name}:{frames[-1].lineno})"


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """What starts here never sees Ctrl-C, which reaches every process of a terminal.

    A worker would print a traceback, and its death would pass for a crash; it is ended instead by
    the process that began it, which gets the signal when this is over.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent(parent: int | None = None) -> None:
    """Have this process killed when the thread that began it is gone, however that came about.

    Who knows the `parent`'s number ends at once if that went before it could be waited for.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if parent is not None and os.getppid() != parent:
        sys.exit(0)


class Placed(Protocol):
    """Something that is worked on in a world of its scenario."""

    @property
    def scenario(self) -> str:
        """A name of the registry."""
        ...


Item = TypeVar("Item", bound=Placed)


def by_scenario(items: Sequence[Item], size: int) -> Iterator[tuple[str, tuple[Item, ...]]]:
    """The items scenario by scenario, at most `size` at a time: what one worker takes on."""
    for scenario in dict.fromkeys(item.scenario for item in items):
        mine = [item for item in items if item.scenario == scenario]
        for at in range(0, len(mine), size):
            yield scenario, tuple(mine[at : at + size])


def completed(
    work: Callable[[Job], Found], jobs: Sequence[Job], workers: int
) -> Iterator[tuple[int, Found]]:
    """Yield (number of the job, what `work` returned for it) as the jobs are done.

    A failed job raises `DualsysError` here, `WorkerError` where nobody foresaw it, and those that
    have not begun are given up; so they are when the caller stops listening.
    """
    # Spawned, not forked: a forked GL context or thread pool is not usable in the child. Also for
    # one worker, so that one and many run in equal processes.
    context = multiprocessing.get_context("spawn")
    others = multiprocessing.active_children()
    with ProcessPoolExecutor(workers, context, initializer=end_with_parent) as pool:
        mine: list[Any] = []
        try:
            with _uninterrupted():
                number_of = {pool.submit(guarded, work, job): n for n, job in enumerate(jobs)}
                mine = [child for child in multiprocessing.active_children() if child not in others]
            for future in as_completed(number_of):
                yield number_of[future], future.result()
        except BrokenProcessPool as error:
            raise WorkerError(DIED) from error
        except BaseException as stopped:
            pool.shutdown(wait=False, cancel_futures=True)
            if isinstance(stopped, (KeyboardInterrupt, GeneratorExit)):
                for child in mine:  # nobody will ask for what they are at
                    child.terminate()
            raise


# A busy machine needs longer than Ray's minute to start a worker that imports torch.
SLOW_START = {"worker_register_timeout_seconds": 300}


def on_ray(address: str, gpus: float = 0.0) -> Completed:
    """As `completed`, on the Ray cluster at `address`; "local" starts one on this machine.

    A job has `gpus` to itself, and sees no others.

    Jobs and results travel as Ray serialises them, between machines that trust each other: a Ray
    cluster must not be open to others. Raises `DualsysError` without Ray or such a cluster, and
    what `completed` raises.
    """

    def completed_on_ray(
        work: Callable[[Job], Found], jobs: Sequence[Job], workers: int
    ) -> Iterator[tuple[int, Found]]:
        ray = _joined(address, workers)
        try:
            task = ray.remote(max_retries=1, num_gpus=gpus)(guarded)
            number_of = {task.remote(work, job): number for number, job in enumerate(jobs)}
            waiting = list(number_of)
            while waiting:
                done, waiting = ray.wait(waiting)
                yield number_of[done[0]], ray.get(done[0])
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, DualsysError):
                raise error.cause from error
            raise WorkerError(f"a worker failed: {cause(error.cause)}") from error
        except ray.exceptions.RayError as error:
            first = str(error).strip().partition("\n")[0]
            raise WorkerError(f"{DIED}: {type(error).__name__}, {first}") from error
        finally:
            ray.shutdown()

    return completed_on_ray


def _joined(address: str, workers: int) -> Any:
    """The library, connected to the cluster."""
    try:
        import ray
    except ImportError as error:
        raise DualsysError(
            f"ray_address= needs Ray ({error}); pip install 'dualsys[cluster]'"
        ) from error
    here: dict[str, Any] = {"num_cpus": workers, "_system_config": SLOW_START}
    try:
        ray.init(
            address=None if address == "local" else address,
            include_dashboard=False,
            log_to_driver=False,
            **(here if address == "local" else {}),
        )
    except Exception as error:  # Ray raises whatever its parts do, a bare Exception among them
        first = str(error).strip().partition("\n")[0]
        raise DualsysError(
            f"no Ray cluster answers at ray_address={address} ({first}); start one there with "
            "`ray start --head`, or give ray_address=local"
        ) from error
    return ray


class Completed(Protocol):
    """How jobs are done: `completed` here, or what `on_ray` returns."""

    def __call__(
        self, work: Callable[[Job], Found], jobs: Sequence[Job], workers: int
    ) -> Iterator[tuple[int, Found]]:
        """See `completed`."""
        ...
