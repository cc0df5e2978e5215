"""A training finds torch as a new process has it, and leaves it as it was: a notebook sets it, and draws from it."""

import contextlib
import threading
from collections.abc import Iterator

import torch

from csg_train.devices import ordinary_tensors, without_any_autocast
from csg_train.errors import UserError

__all__ = ["seed_torch", "undisturbed"]

_TRAINING = threading.Lock()


@contextlib.contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """Within the block gradients are on and new tensors ordinary; after it torch's generators are as before.

    Raises:
        UserError: Another thread of this process trains: the generators and settings are the whole process's.
    """
    if not _TRAINING.acquire(blocking=False):
        raise UserError("another training runs in this process, and both would draw from one generator; start another")
    try:
        with (
            ordinary_tensors(),
            without_any_autocast(),
            torch.random.fork_rng([device] if device.type == "cuda" else []),
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            yield
    finally:
        _TRAINING.release()


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed the generators that a training on this device draws from, and of no other GPU: others may compute there."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
