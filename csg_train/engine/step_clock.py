"""What a training step costs: the time from the end of one to the end of the next, and the most memory."""

import contextlib
import platform
import re
import statistics
import time
from collections import deque
from pathlib import Path
from typing import Any

import torch

from csg_train.distributed import is_first, process_count
from csg_train.engine.waiting import SETTLING, gpu_event
from csg_train.recipes.sections import Recipe
from csg_train.runs.cost import Cost, write_cost

__all__ = ["StepClock", "processor"]

_LEAST = 10
"""Fewer step times give no cost."""
_DEFINITION = (
    f"median of the times from the end of a step to the end of the next, pictures included, after the first {SETTLING}"
)
_ALLOCATED = "allocated on the GPU by torch while training, measurements of a selection rule included"
_RESIDENT = "resident in the process while training, libraries and what was there before included; no loader processes"


class StepClock:
    """Marks the end of every step. On a GPU events do, which are read later, so the host never waits for them.

    Args:
        recipe: Of the run.
        device: Where it computes.
    """

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device, self.on_gpu = recipe, device, device.type == "cuda"
        self.marks: deque[tuple[int, Any]] = deque()
        self.times: list[tuple[int, float]] = []
        """Step and milliseconds."""
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats(device)
        else:
            self.resident = _forget_peak()

    def mark(self, step: int) -> None:
        """After this step."""
        self.marks.append((step, gpu_event(self.device) if self.on_gpu else time.perf_counter()))
        while len(self.marks) > 1 and (not self.on_gpu or self.marks[1][1].query()):
            self._read()

    def _read(self) -> None:
        (_, before), (step, after) = self.marks.popleft(), self.marks[0]
        self.times.append((step, before.elapsed_time(after) if self.on_gpu else 1000 * (after - before)))

    def write(self, folder: Path) -> None:
        """The cost, where there is one, into the run's folder; the first process of several does."""
        if is_first() and (cost := self.cost()) is not None:
            write_cost(folder, cost)

    def cost(self) -> Cost | None:
        """Of the steps so far; None of too few."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)
        while len(self.marks) > 1:
            self._read()
        times, probe = self.times[SETTLING:], self.recipe.train.probe
        if len(times) < _LEAST:
            return None
        stages = [own for own in ([t for s, t in times if s <= probe], [t for s, t in times if s > probe]) if own]
        weighted = f"; of the {len(stages)} stages of LP-FT, weighted by their steps" if len(stages) > 1 else ""
        return Cost(
            method=self.recipe.method["name"],
            seed=self.recipe.seed,
            device=torch.cuda.get_device_name(self.device) if self.on_gpu else processor(),
            threads=torch.get_num_threads(),
            processes=process_count(),
            steps=len(times),
            step_ms=sum(len(own) * statistics.median(own) for own in stages) / len(times),
            definition=_DEFINITION + weighted,
            peak_bytes=torch.cuda.max_memory_allocated(self.device) if self.on_gpu else self._peak_resident(),
            memory=_ALLOCATED if self.on_gpu else _RESIDENT,
        )

    def _peak_resident(self) -> int | None:
        if not self.resident:
            return None
        found = re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
        return 1024 * int(found[1]) if found else None


def processor() -> str:
    """Its model, as the system names it."""
    with contextlib.suppress(OSError):
        if found := re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return found[1].strip()
    return platform.processor() or platform.machine()


def _forget_peak() -> bool:
    """Set the process's high-water mark back, which Linux alone can: else it may be that of an earlier run."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True
