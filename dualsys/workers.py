"""Independent jobs on several worker processes of this machine."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

Job = TypeVar("Job")
Found = TypeVar("Found")


def completed(
    work: Callable[[Job], Found], jobs: Sequence[Job], workers: int
) -> Iterator[tuple[int, Found]]:
    """Yield (number of the job, what `work` returned for it) as the jobs are done.

    A failed job raises here, and those that have not begun are given up; so they are when the
    caller stops listening.
    """
    # Spawned, not forked: a forked GL context or thread pool is not usable in the child. Also for
    # one worker, so that one and many run in equal processes.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        number_of = {pool.submit(work, job): number for number, job in enumerate(jobs)}
        try:
            for future in as_completed(number_of):
                yield number_of[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
