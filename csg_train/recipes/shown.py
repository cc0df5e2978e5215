"""How pictures are shown when they are measured."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from csg_train.data.loaders.batch import Batch
from csg_train.data.loaders.loader import evaluation_batches
from csg_train.data.loaders.segmentation_loader import whole_pictures
from csg_train.data.loaders.workers import measuring_workers
from csg_train.data.readers.masks import MaskedSet
from csg_train.data.readers.sets import AnySet
from csg_train.models.backbones import backbone_spec
from csg_train.recipes.sections import Recipe

__all__ = ["Showing", "shown_batches"]


@dataclass(frozen=True)
class Showing:
    """How a network is shown pictures: squares in batches, or whole ones one by one.

    Attributes:
        size: Side of the square; of whole pictures the cap on the longer side, None for none.
        fit: ``crop``, ``pad`` or ``whole``.
        batch_size: Pictures at once.
        workers: Processes that load them; ``auto`` depends on the device.
        multiple: Of which the sides of a whole picture are made multiples.
    """

    size: int | None
    fit: Literal["crop", "pad", "whole"]
    batch_size: int
    workers: int | Literal["auto"] = "auto"
    multiple: int = 1

    @classmethod
    def of(cls, recipe: Recipe) -> "Showing":
        """As a recipe measures: of a segmentation whole."""
        if recipe.segmentation is not None:
            multiple = backbone_spec(recipe.model.backbone).grid
            return cls(recipe.segmentation.longest_side, "whole", 1, recipe.train.workers, multiple)
        return cls(recipe.data.size, recipe.data.fit, recipe.train.batch_size, recipe.train.workers)


def shown_batches(images: AnySet, shown: Recipe | Showing, device: torch.device) -> Iterator[Batch]:
    """Every picture once, in file order, as a recipe shows it for measuring, or as `Showing` says.

    Args:
        images: The pictures.
        shown: How.
        device: Of the network, which computes while processes load what comes next (`measuring_workers`).
    """
    showing = shown if isinstance(shown, Showing) else Showing.of(shown)
    workers = measuring_workers(showing.workers, device, -(-len(images) // showing.batch_size))
    if showing.fit == "whole":
        return whole_pictures(images, longest_side=showing.size, multiple=showing.multiple, workers=workers)
    assert showing.size is not None
    assert not isinstance(images, MaskedSet)
    size, fit, batch_size = showing.size, showing.fit, showing.batch_size
    return evaluation_batches(images, size=size, fit=fit, batch_size=batch_size, workers=workers)
