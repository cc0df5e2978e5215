"""Networks without numbers: shapes are found, and settings tried, before anything is computed."""

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["outline"]


def outline(build: Callable[[], Any]) -> Any:
    """The network that ``build`` gives, on the meta device; torch's generators are as before.

    One whose construction computes with numbers (torchvision's RegNet counts its widths with tensors) is built with
    them and loses them then.
    """
    try:
        with torch.device("meta"):
            return build()
    except RuntimeError:
        with torch.random.fork_rng(devices=[]):
            return build().to("meta")
