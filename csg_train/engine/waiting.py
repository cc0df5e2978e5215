"""How long the device waits for its batches, which more workers or a cache can save, and how busy a GPU is."""

import contextlib
import statistics
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from csg_train.data.loaders.unseen import Loaded

__all__ = ["SETTLING", "Waits", "gpu_event"]

SETTLING = 5
"""First steps: compilation, cuDNN's choice, the first allocations and measured loading are not what a step costs."""
_PERIOD = 1.0
"""Seconds: the driver's own, over which it counts."""


def gpu_event(device: torch.device) -> Any:
    """A mark in what this GPU, of several, has been given to do: it passes when the GPU comes there."""
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event


class Waits:
    """Iterates over batches, and adds up for how long the device had nothing to do before each.

    On a GPU events measure it, set before a batch is asked for and after it came: a GPU that is still busy with the
    last step does not wait. They are read when they have passed, so the host never waits for the GPU. On a CPU, which
    computes nothing meanwhile, it is the time that the batch took. A GPU may also be idle within a step, when the host
    does not give it work fast enough: its load is what nvidia-smi shows, asked for once a second.

    Args:
        batches: What to iterate over.
        device: Where they are used.
    """

    def __init__(self, batches: Iterable[Loaded], device: torch.device) -> None:
        self.batches, self.device, self.on_gpu = batches, device, device.type == "cuda"
        self.steps, self.waited = 0, 0.0
        self.marks: deque[tuple[Any, Any]] = deque()
        self.loads: list[float] = []
        self.asked_load = 0.0

    def __iter__(self) -> Iterator[Loaded]:
        self.begun, batches = time.perf_counter(), iter(self.batches)
        while True:
            asked, event = time.perf_counter(), gpu_event(self.device) if self.on_gpu else None
            if (batch := next(batches, None)) is None:
                return
            if event is None:
                self.waited += time.perf_counter() - asked
            else:
                self.marks.append((event, gpu_event(self.device)))
                self._read()
                self._see_load()
            self.steps += 1
            yield batch

    def _read(self) -> None:
        while self.marks and self.marks[0][1].query():
            asked, came = self.marks.popleft()
            self.waited += asked.elapsed_time(came) / 1000

    def _see_load(self) -> None:
        if self.steps < SETTLING or (now := time.perf_counter()) < self.asked_load + _PERIOD:
            return
        self.asked_load = now
        # without the driver's library, or of a part of a GPU, which has no load of its own, it stays unknown
        with contextlib.suppress(Exception):
            self.loads.append(torch.cuda.utilization(self.device) / 100)

    def __str__(self) -> str:
        """One line: steps, seconds of wall time (all that happens in the loop), share waited, load of a GPU."""
        seconds = time.perf_counter() - self.begun
        line = (
            f"{self.steps} steps in {seconds:.0f} s, {seconds / self.steps:.3g} s each; "
            f"waited for pictures: {self.waited / seconds:.0%}"
        )
        if self.loads:
            line += f"; GPU busy: {statistics.mean(self.loads):.0%} (nvidia-smi, all programs, {len(self.loads)} times)"
        elif self.on_gpu and self.steps > SETTLING:
            line += "; GPU busy: unknown (pip install nvidia-ml-py; a part of a GPU, MIG, has no load of its own)"
        return line
