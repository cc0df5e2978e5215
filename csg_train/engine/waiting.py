"""How long the device waits for its batches: the share of a run that more workers or a cache can save."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from csg_train.data.loaders.batch import Batch

__all__ = ["Waits", "gpu_event"]


def gpu_event() -> Any:
    """A mark in what the GPU has been given to do: it passes when the GPU comes there."""
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event


class Waits:
    """Iterates over batches, and adds up for how long the device had nothing to do before each.

    On a GPU events measure it, set before a batch is asked for and after it came: a GPU that is still busy with the
    last step does not wait. They are read when they have passed, so the host never waits for the GPU. On a CPU, which
    computes nothing meanwhile, it is the time that the batch took.

    Args:
        batches: What to iterate over.
        device: Where they are used.
    """

    def __init__(self, batches: Iterable[Batch], device: torch.device) -> None:
        self.batches, self.on_gpu = batches, device.type == "cuda"
        self.steps, self.waited = 0, 0.0
        self.marks: deque[tuple[Any, Any]] = deque()

    def __iter__(self) -> Iterator[Batch]:
        self.begun, batches = time.perf_counter(), iter(self.batches)
        while True:
            asked, event = time.perf_counter(), gpu_event() if self.on_gpu else None
            if (batch := next(batches, None)) is None:
                return
            if event is None:
                self.waited += time.perf_counter() - asked
            else:
                self.marks.append((event, gpu_event()))
                self._read()
            self.steps += 1
            yield batch

    def _read(self) -> None:
        while self.marks and self.marks[0][1].query():
            asked, came = self.marks.popleft()
            self.waited += asked.elapsed_time(came) / 1000

    def __str__(self) -> str:
        """One line: steps, seconds of wall time (all that happens in the loop), share waited."""
        seconds = time.perf_counter() - self.begun
        return (
            f"{self.steps} steps in {seconds:.0f} s, {seconds / self.steps:.3g} s each; "
            f"waited for pictures: {self.waited / seconds:.0%}"
        )
