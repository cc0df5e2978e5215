"""Loader processes for training: as asked or, for ``train.workers: auto`` on a GPU, as many as it takes to feed it."""

import math
import statistics
import time
from collections.abc import Callable, Iterator

import torch

from csg_train.console import console
from csg_train.data.loaders.unseen import Loaded
from csg_train.data.loaders.workers import spare_cores
from csg_train.engine.waiting import SETTLING

__all__ = ["sized_batches"]

_MEASURED = 3
"""Of the `SETTLING` steps, whose batches the run's own process loads, the last, which decide."""
_MARGIN = 1.5
"""Batches differ, and processes share the memory."""


def sized_batches(
    make: Callable[[int, int, int], Iterator[Loaded]],
    *,
    start: int,
    stop: int,
    workers: int | str,
    device: torch.device,
) -> Iterator[Loaded]:
    """The batches of steps ``start`` to ``stop - 1``, which do not depend on who loads them.

    With ``auto`` on a GPU the run's process loads the first few itself and waits for the GPU after each. What a batch
    then costs one core, over what a step takes the GPU, is the number of processes that keep up; half as many more are
    taken, of the cores that are there.

    Args:
        make: Gives the batches from one step to before another, loaded by so many processes.
        start: First step.
        stop: One past the last step.
        workers: A number, or ``auto``.
        device: Where the network computes.
    """
    if workers == "auto" and device.type != "cuda":
        workers = 0
    if isinstance(workers, int):
        yield from make(start, stop, workers)
        return
    middle = min(start + SETTLING, stop)
    loading, computing = [], []
    batches = make(start, middle, 0)
    for _ in range(start, middle):
        asked, used = time.perf_counter(), time.process_time()
        batch = next(batches)
        came = time.perf_counter()
        loading.append(max(came - asked, time.process_time() - used))  # of all threads: a loader process has one
        yield batch
        torch.cuda.synchronize(device)
        computing.append(time.perf_counter() - came)
    if middle < stop:
        load, step = (statistics.median(times[-_MEASURED:]) for times in (loading, computing))
        number = _enough(load, step)
        line = f"loader processes: {number} (a batch takes one of them {load:.2g} s, a step {step:.2g} s)"
        console.print(line)
        yield from make(middle, stop, number)


def _enough(load: float, step: float) -> int:
    return min(max(1, math.ceil(_MARGIN * load / step)), spare_cores())
