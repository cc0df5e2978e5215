"""The training batches of a recipe."""

from collections.abc import Iterator
from typing import Any

from csg_train.data.loaders.loader import training_batches
from csg_train.data.loaders.segmentation_loader import segmentation_batches
from csg_train.data.loaders.unseen import Loaded
from csg_train.data.readers.masks import MaskedSet
from csg_train.data.readers.sets import AnySet
from csg_train.data.views.pasta import Pasta
from csg_train.data.views.restyle import Styles
from csg_train.methods.base import Method
from csg_train.models.backbones import backbone_spec
from csg_train.recipes.pictures import load_background
from csg_train.recipes.sections import Recipe

__all__ = ["batches_of"]


def batches_of(
    recipe: Recipe, images: AnySet, method: Method, styles: Styles | None, *, start: int, stop: int, workers: int
) -> Iterator[Loaded]:
    """The batches of steps ``start`` to ``stop - 1``, of the views that the method asks for.

    Args:
        recipe: Of the run.
        images: Its source pictures.
        method: Its method.
        styles: What ``method.styles()`` gives.
        start: First step.
        stop: One past the last step.
        workers: Processes that decode and augment.
    """
    data, train, segmentation = recipe.data, recipe.train, recipe.segmentation
    settings = None if data.pasta is None else Pasta(**data.pasta.model_dump())
    common: dict[str, Any] = {
        "views": method.views,
        "batch_size": train.batch_size,
        "seed": recipe.seed,
        "start": start,
        "stop": stop,
        "workers": workers,
    }
    if isinstance(images, MaskedSet):
        assert segmentation is not None
        mean = backbone_spec(recipe.model.backbone).mean
        crops = {
            "size": data.size,
            "scale": segmentation.scale,
            "styles": styles,
            "settings": settings,
            "jitter": segmentation.jitter,
            "fill": tuple(round(255 * value) for value in mean) if segmentation.padding == "mean" else None,
        }
        return segmentation_batches(images, options=crops, **common)
    augment = method.paper_augment if data.augment == "paper" else data.augment
    options: dict[str, Any] = {"size": data.size, "fit": data.fit, "augment": augment, "settings": settings}
    options["background"] = load_background(data)
    return training_batches(images, sampling=data.sampling, options=options, augment_on=data.augment_on, **common)
