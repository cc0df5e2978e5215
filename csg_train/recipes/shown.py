"""How pictures are shown when they are measured."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from csg_train.data.loaders.batch import Batch
from csg_train.data.loaders.loader import evaluation_batches
from csg_train.data.loaders.segmentation_loader import whole_pictures
from csg_train.data.readers.images import over_white
from csg_train.data.readers.masks import MaskedSet
from csg_train.data.readers.sets import AnySet
from csg_train.data.views.segmentation_views import segmentation_evaluation_view
from csg_train.recipes.sections import Recipe

__all__ = ["Showing", "shown_batches"]


@dataclass(frozen=True)
class Showing:
    """How a network is shown pictures: squares in batches, or whole ones one by one.

    Attributes:
        size: Side of the square; of whole pictures the cap on the longer side, None for none.
        fit: ``crop``, ``pad`` or ``whole``.
        batch_size: Pictures at once.
    """

    size: int | None
    fit: Literal["crop", "pad", "whole"]
    batch_size: int

    @classmethod
    def of(cls, recipe: Recipe) -> "Showing":
        """As a recipe measures: of a segmentation whole."""
        if recipe.segmentation is not None:
            return cls(recipe.segmentation.longest_side, "whole", 1)
        return cls(recipe.data.size, recipe.data.fit, recipe.train.batch_size)


def shown_batches(images: AnySet, shown: Recipe | Showing) -> Iterator[Batch]:
    """Every picture once, in file order, as a recipe shows it for measuring, or as `Showing` says."""
    showing = shown if isinstance(shown, Showing) else Showing.of(shown)
    if isinstance(images, MaskedSet):
        assert showing.fit == "whole"
        yield from whole_pictures(images, longest_side=showing.size)
    elif showing.fit == "whole":
        for index, label in enumerate(images.labels):
            view = segmentation_evaluation_view(over_white(images.picture(index)), longest_side=showing.size)
            yield Batch((view[None],), torch.tensor([label]))
    else:
        assert showing.size is not None
        yield from evaluation_batches(images, size=showing.size, fit=showing.fit, batch_size=showing.batch_size)
