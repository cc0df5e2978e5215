"""Several processes train one run: ``torchrun --nproc-per-node N -m csg_train run RECIPE``.

Every process holds the whole network and takes its share of each global batch, whose pictures are the same whatever N
is. After ``backward`` one all-reduce of a flat vector averages the gradients. This is exact: a loss term is either a
mean over the pictures of the batch, of which every process has as many, or a function of the weights alone (EWC, SI,
weight-l2), which every process computes whole and whose mean is itself. A mean over counted pixels divides by
`mean_over_processes` of the count. torch's DistributedDataParallel counts on one call of one module in a step; a method
calls the backbone several times and has heads of its own beside it, so it is not used.

The first process alone writes and prints. With one process every function here returns what it was given.
"""

import contextlib
import hashlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from csg_train.errors import UserError
from csg_train.program import of_several

__all__ = [
    "agreed",
    "average",
    "gathered",
    "highest",
    "is_first",
    "joined",
    "mean_over_processes",
    "process_count",
    "process_index",
    "require_alike",
    "require_equal_parts",
    "require_one_run",
    "share",
    "summed",
]

_over = _lost = False
_Item = TypeVar("_Item")
_PATIENCE = timedelta(hours=2)
"""Longest that a process waits for the others: for a checkpoint or a selection measured, never for a dead process,
which torchrun notices by itself."""


def process_count() -> int:
    """Processes that train this run together; 1 outside `joined`."""
    return dist.get_world_size() if dist.is_initialized() else 1


def process_index() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    return process_index() == 0


def require_one_run(count: int) -> None:
    """Refuse to train several runs in the processes of one torchrun: after the first their meeting is over.

    Raises:
        UserError: There are several of both.
    """
    if count > 1 and of_several():
        raise UserError("torchrun: trains one run a start; give csg-train sweep a --shard for every process instead")


def require_equal_parts(size: int) -> None:
    """Refuse a batch that is no whole number of pictures for each process.

    Raises:
        UserError: It is not.
    """
    if size % (count := process_count()):
        raise UserError(f"train.batch_size: {size} pictures do not divide among {count} processes; change either")


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that torchrun started, gloo for tensors on the CPU and NCCL for those on a GPU.

    Args:
        device: ``cpu`` or ``cuda``; torchrun's ``LOCAL_RANK`` chooses the GPU.

    Yields:
        The device of this process.

    Raises:
        UserError: A numbered GPU, more processes than GPUs, a second run, for which the others are gone, variables
            that torchrun did not set, or a group that somebody else made.
    """
    global _over, _lost
    if not of_several():
        if (count := process_count()) > 1:
            raise UserError(
                f"torch.distributed has a group of {count} processes already; end it, or start with torchrun"
            )
        yield device
        return
    if _over:
        require_one_run(2)  # the one that is over, and this
    if device.type == "cuda":
        device = _own_card(device, os.environ.get("LOCAL_RANK", ""))
    try:
        with _ended_at_once():
            dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    except (ValueError, RuntimeError) as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise UserError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, and the processes do not meet ({reason}); start them with "
            "torchrun, or unset it to train in one"
        ) from error
    try:
        yield device
    except Exception:  # perhaps of this process alone, for which the others wait
        _lost = True
        raise
    finally:
        _over = True
        if not _lost:  # NCCL would wait for what the lost one was to send, or they for this one
            dist.destroy_process_group()


@contextlib.contextmanager
def _ended_at_once() -> Iterator[None]:
    """A signal within the block ends the process: torch waits for the others where no handler of Python's runs."""
    before = {}
    with contextlib.suppress(ValueError):  # not in the main thread: leave signals alone
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _own_card(device: torch.device, rank: str) -> torch.device:
    if not rank.isdecimal():
        raise UserError(f"LOCAL_RANK is {rank!r}; start the processes with torchrun, or unset WORLD_SIZE")
    local = int(rank)
    if str(device) != "cuda":
        raise UserError(f"--device {device}: torchrun gives every process a GPU of its own; use --device cuda")
    if local >= (count := torch.cuda.device_count()):
        raise UserError(f"torchrun: process {local} finds {count} GPU(s) on its machine; use --nproc-per-node {count}")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


@contextlib.contextmanager
def _lost_peers() -> Iterator[None]:
    """A process that is gone ends the others: the first with a line, the rest in silence."""
    global _lost
    try:
        yield
    except RuntimeError as error:
        _lost = True
        if not is_first():
            raise SystemExit(1) from error
        raise UserError(
            "another process of this run ended (its own line or torchrun's says why); start again with --resume"
        ) from error


def _sum(tensor: Tensor) -> Tensor:
    with _lost_peers():
        dist.all_reduce(tensor)
    return tensor


def highest(value: int) -> int:
    """The largest of the processes' values; the CPU's group, so no GPU is waited for."""
    if process_count() == 1:
        return value
    tensor = torch.tensor(value)
    with _lost_peers():
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return int(tensor)


class _OthersError(UserError):
    """What this process met because another did: the other says it."""


@contextlib.contextmanager
def agreed() -> Iterator[None]:
    """Go on when every process came through the block; an error that several met is said by one of them."""
    try:
        yield
    except UserError as error:
        urgency = 0 if isinstance(error, _OthersError) else process_count() - process_index()
        if highest(urgency) > urgency:  # an earlier process says its own
            raise SystemExit(UserError.exit_code) from error
        raise
    if highest(0):
        raise SystemExit(UserError.exit_code)


def require_alike(facts: Mapping[str, str]) -> None:
    """Refuse processes of which not all say the same: gradients of different networks would be averaged.

    Raises:
        UserError: What they differ in, in each of them.
    """
    for name, text in facts.items():
        number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")
        if {highest(number), -highest(-number)} != {number}:  # every process asks for both
            raise UserError(
                f"torchrun: the processes have different {name}; give all the same recipe and files, and an --out that "
                "all of them see"
            )


def share(items: list[_Item]) -> list[_Item]:
    """This process's part of a global batch: the parts of all, in order, are the batch."""
    size = len(items) // process_count()
    return items[process_index() * size : (process_index() + 1) * size]


@torch.no_grad()
def average(tensors: Sequence[Tensor]) -> None:
    """Replace each float32 tensor by its mean over the processes, in place; all in one all-reduce."""
    if process_count() == 1:
        return
    flat = _sum(torch.cat([tensor.reshape(-1) for tensor in tensors])).div_(process_count())
    for tensor, mean in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(mean.view(tensor.shape))


def mean_over_processes(count: Tensor) -> Tensor:
    """The mean of a count, so that a sum of one process over it averages to the mean of the global batch."""
    return count if process_count() == 1 else _sum(count.clone()) / process_count()


def gathered(rows_ND: Tensor) -> Tensor:
    """The rows of all processes, of each as many, in the order of the global batch."""
    if process_count() == 1:
        return rows_ND
    parts = [torch.empty_like(rows_ND) for _ in range(process_count())]
    with _lost_peers():
        dist.all_gather(parts, rows_ND.contiguous())
    return torch.cat(parts)


def summed(count: Callable[[], np.ndarray]) -> np.ndarray:
    """The sum of what each process counts, the same in each; of int64 counts it is exact.

    Where one cannot count, all fail here, so that none waits for its sum.
    """
    if process_count() == 1:
        return count()
    try:
        counts = count()
    except Exception:  # whatever it is: the others are told
        highest(1)
        raise
    if highest(0):
        raise _OthersError("another process of this run could not count its part")
    return _sum(torch.from_numpy(counts.copy())).numpy()
