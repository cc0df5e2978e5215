"""Where the time of a step goes: torch's profiler over some steps, as a trace that a browser opens."""

import contextlib
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from csg_train.engine.waiting import SETTLING
from csg_train.errors import UserError
from csg_train.files import atomic_write, writing

__all__ = ["PROFILE", "recorded", "require_steps"]

PROFILE = "profile.json"


def require_steps(wanted: int, left: int) -> None:
    """Refuse to record more steps than the run has left.

    Raises:
        UserError: It has fewer, or fewer than none are asked for.
    """
    if wanted < 0 or (wanted and wanted + SETTLING > left):
        raise UserError(
            f"--profile {wanted}: profiles that many steps after {SETTLING} others; the run has {left} left; ask for "
            "fewer steps, or profile in another --out"
        )


@contextlib.contextmanager
def recorded(folder: Path, wanted: int) -> Iterator[Callable[[], object]]:
    """Record so many steps of this process, none for 0, into `PROFILE` of the folder.

    The trace is Chrome's format (Perfetto and chrome://tracing open it), with the operations of the host and the
    kernels of the GPU. Of a run that is interrupted within the steps it holds those that there were.

    Yields:
        What to call at the end of each step.

    Raises:
        UserError: The file cannot be written.
    """
    if not wanted:
        yield lambda: None
        return

    def write(profiler: profile) -> None:
        with writing(folder / PROFILE), tempfile.TemporaryDirectory(dir=folder, prefix=f".{PROFILE}.") as temporary:
            whole = Path(temporary) / PROFILE
            profiler.export_chrome_trace(str(whole))
            with whole.open("rb") as trace:
                atomic_write(folder / PROFILE, lambda stream: shutil.copyfileobj(trace, stream))

    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    parts = schedule(skip_first=SETTLING - 1, wait=0, warmup=1, active=wanted, repeat=1)
    with profile(activities=kinds, schedule=parts, on_trace_ready=write) as profiler:

        def end_step() -> None:
            with warnings.catch_warnings():  # torch 2.11 warns of cycles, and there is one
                warnings.filterwarnings("ignore", message="Warning: Profiler clears events")
                profiler.step()

        yield end_step
