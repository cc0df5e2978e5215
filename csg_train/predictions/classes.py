"""Classes of pictures, batch by batch: whatever their number, one batch of them is in memory, and one on its way."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from csg_train.data.loaders.batch import stacked
from csg_train.data.loaders.loader import file_order, load_batches
from csg_train.data.loaders.workers import measuring_workers
from csg_train.data.readers.images import ImageSet
from csg_train.data.views.transforms import evaluation_view
from csg_train.devices import full_float32
from csg_train.errors import UserError
from csg_train.evaluate.accuracy import logits_of_views, mean_scores, require_numbers, without_numbers
from csg_train.models.network import TaskNetwork
from csg_train.predictions.table import Outcome
from csg_train.recipes.sections import Recipe

__all__ = ["predicted_classes"]


class _Views(Dataset["Tensor | UserError"]):
    """Pictures as they are measured, or what is wrong with one."""

    def __init__(self, images: ImageSet, recipe: Recipe) -> None:
        self.images, self.size, self.fit = images, recipe.data.size, recipe.data.fit

    def __getitem__(self, index: int) -> Tensor | UserError:
        try:
            return evaluation_view(self.images.read(index), size=self.size, fit=self.fit)
        except UserError as error:
            return UserError(error.message)


def _together(pictures: list[Tensor | UserError]) -> tuple[Tensor | None, list[UserError | None]]:
    views = [one for one in pictures if isinstance(one, Tensor)]
    wrong = [None if isinstance(one, Tensor) else one for one in pictures]
    return (stacked(views) if views else None), wrong


def predicted_classes(network: TaskNetwork, images: ImageSet, recipe: Recipe, *, top: int) -> Iterator[Outcome]:
    """The likeliest classes of every picture, in file order.

    Args:
        network: In evaluation mode.
        images: The pictures; its classes are the network's.
        recipe: Says how they are shown, and in what batches.
        top: Classes of each, from the likeliest on.

    Yields:
        For each picture ``class`` and ``probability``, ``class_2`` and ``probability_2`` ..., or what is wrong with it.
    """
    device = next(network.parameters()).device
    keys = file_order(len(images), recipe.train.batch_size)
    workers = measuring_workers(recipe.train.workers, device, len(keys))
    for views, wrong in load_batches(_Views(images, recipe), keys, _together, workers):
        there = None if views is None else views.to(device, non_blocking=True)
        rows = iter(() if there is None else _rows(network, there, images.classes, recipe, top))
        for error in wrong:
            yield next(rows) if error is None else error


@torch.no_grad()
@full_float32()
def _rows(
    network: TaskNetwork, images_NCHW: Tensor, classes: Sequence[str], recipe: Recipe, top: int
) -> list[dict[str, str | float]]:
    logits_VNC = logits_of_views(network, images_NCHW, flip=recipe.evaluate.flip)
    require_numbers(without_numbers(logits_VNC.transpose(0, 1)))
    order_NK = mean_scores(logits_VNC).sort(dim=1, descending=True, stable=True).indices[:, :top]  # ties as argmax does
    shares_NK = logits_VNC.softmax(dim=2).mean(dim=0).gather(1, order_NK)
    endings = ["", *(f"_{place}" for place in range(2, top + 1))]
    rows: list[dict[str, str | float]] = []
    for labels, shares in zip(order_NK.tolist(), shares_NK.tolist(), strict=True):
        row: dict[str, str | float] = {}
        for ending, label, share in zip(endings, labels, shares, strict=True):
            row |= {f"class{ending}": classes[label], f"probability{ending}": round(share, 6)}
        rows.append(row)
    return rows
