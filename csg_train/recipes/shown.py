"""How a recipe shows pictures when they are measured."""

from collections.abc import Iterator

from csg_train.data.loaders.batch import Batch
from csg_train.data.loaders.loader import evaluation_batches
from csg_train.data.loaders.segmentation_loader import whole_pictures
from csg_train.data.readers.masks import MaskedSet
from csg_train.data.readers.sets import AnySet
from csg_train.recipes.sections import Recipe

__all__ = ["shown_batches"]


def shown_batches(images: AnySet, recipe: Recipe) -> Iterator[Batch]:
    """Every picture once, in file order, as a recipe shows it for measuring; of a segmentation whole, one a batch."""
    if isinstance(images, MaskedSet):
        assert recipe.segmentation is not None
        return whole_pictures(images, longest_side=recipe.segmentation.longest_side)
    data = recipe.data
    return evaluation_batches(images, size=data.size, fit=data.fit, batch_size=recipe.train.batch_size)
