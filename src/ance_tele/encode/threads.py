"""All cores of a CPU at work, each on its own: they wait for each other at the end, not at every multiplication."""

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
    """Give as many threads as torch has, up to ``THREADS``; each computes with its share of torch's."""
    before = torch.get_num_threads()
    threads = min(before, THREADS)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(before // threads,)) as pool:
            yield pool, threads
    finally:
        torch.set_num_threads(before)  # new threads of torch take the number that was set last


def side_by_side(work: Callable[[Iterator[T]], Any], items: Iterable[T]) -> None:
    """Have every thread call ``work`` once, with an iterator that takes the next item whenever it is asked.

    The first error ends the others after the item that they are at, and is raised.
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
