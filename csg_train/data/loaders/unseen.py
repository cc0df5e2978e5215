"""A batch on its way to the device that will make its views: pictures as they are, and what was drawn for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from csg_train.data.loaders.batch import Batch
from csg_train.data.views.looks import Look, Looks

__all__ = ["Loaded", "Unseen", "UnseenBatch"]


class Unseen(NamedTuple):
    """A picture ``(H, W, 3)`` uint8, a look for each view, its class, and the side of the views."""

    picture_HW3: Tensor
    looks: Sequence[Look]
    label: int
    size: int


@dataclass(frozen=True)
class UnseenBatch:
    """One step's pictures.

    Attributes:
        pictures_NHW3: uint8, in a frame of the largest rows and columns.
        sizes_N2: Rows and columns of each, int64.
        looks: Of each view.
        labels: ``(N,)`` int64.
        size: Side of the views.
    """

    pictures_NHW3: Tensor
    sizes_N2: Tensor
    looks: tuple[Looks, ...]
    labels: Tensor
    size: int

    @classmethod
    def of(cls, samples: Sequence[Unseen]) -> "UnseenBatch":
        """Those of a step."""
        sizes_N2 = torch.tensor([sample.picture_HW3.shape[:2] for sample in samples])
        frame = torch.zeros(len(samples), *sizes_N2.amax(dim=0).tolist(), 3, dtype=torch.uint8)
        for place, (picture_HW3, *_) in zip(frame, samples, strict=True):
            place[: picture_HW3.shape[0], : picture_HW3.shape[1]] = picture_HW3
        looks = tuple(Looks.of(view) for view in zip(*(sample.looks for sample in samples), strict=True))
        return cls(frame, sizes_N2, looks, torch.tensor([sample.label for sample in samples]), samples[0].size)

    def pin_memory(self) -> "UnseenBatch":
        """See `Batch.pin_memory`."""
        looks = tuple(Looks(*(part.pin_memory() for part in look)) for look in self.looks)
        pictures, sizes, labels = (part.pin_memory() for part in (self.pictures_NHW3, self.sizes_N2, self.labels))
        return UnseenBatch(pictures, sizes, looks, labels, self.size)

    def to(self, device: torch.device) -> Batch:
        """The batch with its views, which the device makes."""
        pictures, sizes, labels = (
            part.to(device, non_blocking=True) for part in (self.pictures_NHW3, self.sizes_N2, self.labels)
        )
        there = (Looks(*(part.to(device, non_blocking=True) for part in look)) for look in self.looks)
        return Batch(tuple(look.applied(pictures, sizes, self.size) for look in there), labels)


Loaded = Batch | UnseenBatch
"""What ``to`` makes a `Batch` of."""
