"""`Batch`: what the loop gives to a model and a method in one step."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Batch", "stacked"]


@dataclass(frozen=True)
class Batch:
    """One step's input.

    Attributes:
        views: One ``(N, 3, H, W)`` uint8 tensor for each view that the method asks for; the first is the student's.
        labels: ``(N,)`` int64 class indices; for segmentation ``(N, H, W)``, uint8 until the batch is on its device.
    """

    views: tuple[Tensor, ...]
    labels: Tensor

    def pin_memory(self) -> "Batch":
        """The same batch in memory from which a GPU copies while it computes; the loader calls this."""
        return Batch(tuple(view.pin_memory() for view in self.views), self.labels.pin_memory())

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device, where labels are int64: bytes travel, a GPU copies while it computes."""
        views = tuple(view.to(device, non_blocking=True) for view in self.views)
        return Batch(views, self.labels.to(device, non_blocking=True).long())


def stacked(views: Sequence[Tensor]) -> Tensor:
    """``(3, H, W)`` pictures as one ``(N, 3, H, W)`` tensor, channels last in memory as decoded pictures have them."""
    return torch.stack([view.permute(1, 2, 0) for view in views]).permute(0, 3, 1, 2)
