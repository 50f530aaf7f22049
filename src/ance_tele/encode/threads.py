"""Parallel work on all cores of a CPU, synchronised at the end instead of at every product."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

T = TypeVar("T")

THREADS = 16  # At most; each holds memory of its own.


@contextmanager
def workers() -> Iterator[tuple[ThreadPoolExecutor, int]]:
    """Yield a pool of as many threads as torch uses, up to ``THREADS``, each with its share of torch's threads."""
    before = torch.get_num_threads()
    threads = min(before, THREADS)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(before // threads,)) as pool:
            yield pool, threads
    finally:
        torch.set_num_threads(before)  # new threads of torch take the number that was set last


def side_by_side(work: Callable[[Iterator[T]], Any], items: Iterable[T]) -> None:
    """Call ``work`` once in every thread, with an iterator over shared ``items``.

    The first error stops the others after their current item, and is raised.
    """
    waiting = deque(items)

    def taken() -> Iterator[T]:
        while True:
            try:
                item = waiting.popleft()
            except IndexError:
                return
            yield item

    if torch.get_num_threads() == 1 or len(waiting) < 2:
        work(taken())
        return
    with workers() as (pool, threads):
        try:
            for done in as_completed([pool.submit(work, taken()) for _ in range(min(threads, len(waiting)))]):
                done.result()
        finally:
            waiting.clear()
