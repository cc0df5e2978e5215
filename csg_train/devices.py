"""Where to compute and how exactly: a device by name, tried before it is used; the precision of its products."""

import contextlib
import os
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from csg_train.errors import UserError

__all__ = [
    "arithmetic",
    "full_float32",
    "ordinary_tensors",
    "usable_device",
    "without_any_autocast",
    "without_autocast",
]

_AUTOCASTS = [kind for kind in ("cpu", "cuda", "mps", "xpu") if torch.amp.is_autocast_available(kind)]
"""Kinds of devices that have it; torch before 2.9 cannot ask while it compiles."""
_MEASURING = threading.RLock()


def usable_device(name: torch.device | str) -> torch.device:
    """The device of that name; ``auto`` is the GPU where there is one.

    Raises:
        UserError: It is not there or cannot be used, torch has no such device, or it has no float64.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        rank = os.environ.get("LOCAL_RANK") or "0"  # of torchrun's processes each has a GPU, and no other's memory
        own = str(device) == "cuda" and rank.isdecimal() and int(rank) < torch.cuda.device_count()
        torch.zeros(1, device=torch.device("cuda", int(rank)) if own else device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise UserError(f"--device {name}: not usable here ({reason}); --device cpu always is") from error
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"--device {name}: what is measured is summed in float64; give cpu or cuda")
    return device


def without_autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Within the block tensors there are computed with in their own types, whatever is around it.

    An autocast within the block casts weights anew each time: torch would keep the first casts up to the block's end,
    and a training within it would go on with the weights of its first step.
    """
    known = device.type in _AUTOCASTS
    return torch.autocast(device.type, enabled=False, cache_enabled=False) if known else contextlib.nullcontext()


@contextlib.contextmanager
def without_any_autocast() -> Iterator[None]:
    """As `without_autocast`, for tensors anywhere."""
    with contextlib.ExitStack() as off:
        for kind in _AUTOCASTS:
            off.enter_context(without_autocast(torch.device(kind)))
        yield


@contextlib.contextmanager
def ordinary_tensors() -> Iterator[None]:
    """What is made within the block is float32 and on the CPU where nothing else is said, as in a new process."""
    dtype, device = torch.get_default_dtype(), torch.empty(0).device  # torch 2.8 cannot say it once it was reset
    torch.set_default_dtype(torch.float32)
    try:
        with contextlib.nullcontext() if device.type == "cpu" else torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(dtype)


@contextlib.contextmanager
def arithmetic(*, tf32: bool = False, benchmark: bool = False, deterministic: bool = False) -> Iterator[None]:
    """Set how float32 convolutions and products are computed, for the whole process; at the end all is as before.

    Not around a ``yield`` of another generator: whoever takes from that would compute so too.

    Args:
        tf32: On a GPU, round their factors to 11 bits: 1e-3 of a feature, where float32 has 1e-6.
        benchmark: Let cuDNN time its algorithms for each new shape; the fastest may differ from run to run.
        deterministic: Take only algorithms of cuDNN that repeat their result.
    """
    cudnn: Any = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    with _products(tf32):
        cudnn.benchmark, cudnn.deterministic = benchmark, deterministic
        try:
            yield
        finally:
            cudnn.benchmark, cudnn.deterministic = before


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """For what is measured: no TF32, which torch itself turns on for convolutions, no autocast, no timed algorithms.

    One thread at a time: the switches are the whole process's, which a training in another thread sets too.
    """
    with _MEASURING, arithmetic(deterministic=True), without_any_autocast():
        yield


@contextlib.contextmanager
def _products(tf32: bool) -> Iterator[None]:
    """Set torch's switches, those of 2.9 and later too: one not set by both ways cannot be read by the older."""
    old, (gpu, cpu) = _old_switches(), _new_switches()
    before = [switch.fp32_precision for switch in gpu + cpu]
    _set_old("high" if tf32 else "highest", tf32)
    for switch in gpu:
        switch.fp32_precision = "tf32" if tf32 else "ieee"
    for switch in cpu:
        switch.fp32_precision = "ieee"
    try:
        yield
    finally:
        _set_old(*old)
        for switch, precision in zip(gpu + cpu, before, strict=True):
            switch.fp32_precision = precision


def _new_switches() -> tuple[list[Any], list[Any]]:
    """Those of a GPU, and those of a CPU, which the older way sets in part."""
    backends: Any = torch.backends
    cudnn, mkldnn = backends.cudnn, backends.mkldnn
    if not hasattr(cudnn, "conv"):
        return [], []
    return [backends.cuda.matmul, cudnn.conv, cudnn.rnn], [mkldnn.matmul, mkldnn.conv, mkldnn.rnn]


def _old_switches() -> tuple[str, bool]:
    """Each as it is, or off where somebody has set its new one alone, which is put back after it."""
    products, convolutions = "highest", False
    with _without_advice():
        with contextlib.suppress(RuntimeError):
            products = torch.get_float32_matmul_precision()
        with contextlib.suppress(RuntimeError):
            convolutions = torch.backends.cudnn.allow_tf32
    return products, convolutions


def _set_old(products: str, convolutions: bool) -> None:
    with _without_advice():
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """Torch 2.9 to 2.11 advise the new switches, which are set as well, whoever touches an old one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Please use the new API")
        yield
