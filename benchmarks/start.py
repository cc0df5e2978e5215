"""Processor time of a program that only answers about itself, as a multiple of ``python -c "import click"``.

python -m benchmarks.start
"""

import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_RUNS = 15
_WORDS = (
    "csg-train --help",
    "csg-train --version",
    "csg-train methods",
    "csg-train run --nope",
    "csg-analyze --help",
    "csg-report --help",
)
_TAB = {"_CSG_TRAIN_COMPLETE": "bash_complete", "COMP_WORDS": "csg-train run v", "COMP_CWORD": "2"}


def processor_seconds(words: list[str], env: Mapping[str, str] | None = None) -> float:
    """The least of several runs, user and system time of the whole process."""
    taken = []
    for _ in range(_RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(words, env={**os.environ, **(env or {})}, capture_output=True, check=False)  # noqa: S603
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(taken)


def main() -> None:
    """Print one line a program."""
    programs = Path(sys.executable).parent
    least = processor_seconds([sys.executable, "-c", "import click"])
    print(f"{'import click':24}{least:8.3f} s")
    for text in _WORDS:
        name, *rest = text.split()
        seconds = processor_seconds([str(programs / name), *rest])
        print(f"{text:24}{seconds:8.3f} s {seconds / least:6.2f} x")
    seconds = processor_seconds([str(programs / "csg-train")], _TAB)
    print(f"{'the Tab key':24}{seconds:8.3f} s {seconds / least:6.2f} x")


if __name__ == "__main__":
    main()
