"""Seeds by name, not by order: adding a consumer of randomness never changes the others."""

import contextlib
import hashlib
import operator
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

from csg_train.errors import UserError

if TYPE_CHECKING:
    import torch

__all__ = ["generator_for", "random_for", "seed_for", "seeded"]


def seed_for(run_seed: int, *key: str | int) -> int:
    """A 63-bit seed that depends on the run's seed, any integer, and the name of its use, and on nothing else.

    Example:
        >>> seed_for(0, "augment", 3, 17) == seed_for(0, "augment", 3, 17)
        True
        >>> seed_for(0, "augment", 3, 17) == seed_for(0, "augment", 31, 7)
        False
    """
    try:
        seed = operator.index(run_seed)  # numpy's too, of the same numbers
    except TypeError as error:
        raise UserError(f"seed {run_seed!r}: give a whole number") from error
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in (seed, *key))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator_for(run_seed: int, *key: str | int) -> "torch.Generator":
    """A CPU torch generator for one named use (see `seed_for`)."""
    import torch

    return torch.Generator().manual_seed(seed_for(run_seed, *key))


def random_for(run_seed: int, *key: str | int) -> random.Random:
    """A Python generator for one named use (see `seed_for`); cheap enough for one per sample."""
    return random.Random(seed_for(run_seed, *key))  # noqa: S311 - augmentation, not cryptography


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the block torch's global CPU generator draws from ``seed``; after it, as if nothing had been drawn.

    The generators of GPUs, which ``torch.manual_seed`` would seed too, stay as they are.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
