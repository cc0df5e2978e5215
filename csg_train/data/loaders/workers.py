"""How many processes load pictures; they change the speed, never a number."""

import contextlib
import math
import os
from pathlib import Path

import torch

from csg_train.program import usable_cores

__all__ = ["measuring_workers", "spare_cores"]


_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def spare_cores() -> int:
    """Cores that may load while one gives the GPU its work, at least 1.

    Of those that this process may use, as many as its container has time of (``docker run --cpus``), shared with the
    other processes that torchrun started on this machine.
    """
    cores = usable_cores()
    with contextlib.suppress(OSError, ValueError):  # no such file; "max", no limit
        quota, period = _QUOTA.read_text().split()
        cores = min(cores, math.ceil(int(quota) / int(period)))
    sharing = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, cores // (int(sharing) if sharing.isdecimal() and int(sharing) else 1) - 1)


def measuring_workers(asked: int | str, device: torch.device, batches: int) -> int:
    """Loader processes while a network is measured: as asked or, for ``auto``, `spare_cores` of a GPU and none else.

    Args:
        asked: A number, or ``auto``.
        device: Where the network computes.
        batches: That will be loaded; a process that loads fewer than two is not worth its start.
    """
    most = asked if isinstance(asked, int) else spare_cores() if device.type == "cuda" else 0
    return min(most, batches // 2)
