"""Work shared by threads of one core each: ours and those of the library's own operations never run together.

The library's wait for each other in every operation, ours once at the end; where both are many, or cores are shared
with others, the former spend more time in waiting than in work.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import torch

__all__ = ["in_order", "one_core_each", "thread_count"]

_MOST = 16
Item = TypeVar("Item")
Result = TypeVar("Result")


def thread_count(device: torch.device) -> int:
    """How many of our threads may work at a time: as many as torch may use, 1 on a GPU."""
    return min(torch.get_num_threads(), _MOST) if device.type == "cpu" else 1


@contextlib.contextmanager
def one_core_each() -> Iterator[None]:
    """Operations of one core; the setting belongs to the process and is put back at the end."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def in_order(act: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """The results in the order of the items, each made by one of the threads; few are made ahead."""
    if threads == 1:
        yield from map(act, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        made = (pool.submit(act, item) for item in items)
        coming: deque[Future[Result]] = deque(islice(made, 2 * threads))
        while coming:
            result = coming.popleft().result()
            coming.extend(islice(made, 1))
            yield result
