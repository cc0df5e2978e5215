"""Comparing what checkpoints hold."""

import itertools

import torch


def equal(left: object, right: object) -> bool:
    """Bit equality of nested state."""
    if isinstance(left, torch.Tensor):
        return isinstance(right, torch.Tensor) and left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return isinstance(right, dict) and left.keys() == right.keys() and all(equal(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(itertools.starmap(equal, zip(left, right, strict=True)))
    return left == right
