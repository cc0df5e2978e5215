"""Programs timed in turn, as ratios, and the tables they are printed in."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

__all__ = ["TIMES", "Spent", "table", "take_turns"]

TIMES = ("clock", "ratio", "processor", "ratio")


class Spent(NamedTuple):
    """Medians in seconds: by the clock, and of the processor over all threads."""

    wall: float
    processor: float

    def cells(self, base: "Spent") -> list[str]:
        """The columns `TIMES`, where ``base`` is 1 x."""
        pairs = zip(self, base, strict=True)
        return [cell for own, one in pairs for cell in (f"{own:.2f} s", f"{own / one:.2f} x")]


def take_turns(repeats: int, tasks: dict[str, Callable[[], object]]) -> dict[str, Spent]:
    """The time of each task: medians of runs in turn, so that all of them meet the same machine."""
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            wall, processor = time.perf_counter(), time.process_time()
            task()
            runs[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return {name: Spent(*map(statistics.median, zip(*spent, strict=True))) for name, spent in runs.items()}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, all columns but the first to the right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
