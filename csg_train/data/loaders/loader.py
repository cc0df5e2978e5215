"""Batches whose content depends on (seed, step) alone: exact resume needs nothing but the step's number."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from csg_train.data.loaders.batch import Batch, stacked
from csg_train.data.loaders.processes import end_with_feeder, iterate
from csg_train.data.loaders.unseen import Loaded, Unseen, UnseenBatch
from csg_train.data.readers.images import ImageSet, over_white
from csg_train.data.views.looks import drawn_look
from csg_train.data.views.transforms import evaluation_view, training_view
from csg_train.distributed import share
from csg_train.errors import UserError
from csg_train.seeds import generator_for, random_for

__all__ = [
    "KEPT_PIXELS",
    "Key",
    "collated",
    "evaluation_batches",
    "file_order",
    "load_batches",
    "only",
    "step_keys",
    "training_batches",
    "uniform_order",
]

Key = tuple[int, int]
"""How often a picture came before, and its index: each time it is seen anew. In epochs of all pictures, the epoch."""
KEPT_PIXELS = 1 << 28
"""Of decoded pictures, in all loader processes together: 3 bytes each, or 4 (with a mask, or transparency)."""
_Gathered = TypeVar("_Gathered")
_One = TypeVar("_One")


def step_keys(orders: Callable[[int], list[Key]], batch_size: int, *, start: int, stop: int) -> Iterator[list[Key]]:
    """The keys of steps ``start`` to ``stop - 1``.

    Steps cut the endless sequence of epochs into batches, so no picture is dropped (the official loader drops an
    epoch's rest).

    Args:
        orders: Gives the keys of one epoch; every epoch is of the same length.
        batch_size: Keys in a step.
        start: First step.
        stop: One past the last step.
    """
    length, epoch = len(order := orders(0)), 0
    for step in range(start, stop):
        keys = []
        for position in range(step * batch_size, (step + 1) * batch_size):
            if position // length != epoch:
                epoch = position // length
                order = orders(epoch)
            keys.append(order[position % length])
        yield keys


def uniform_order(images: Sized, seed: int, epoch: int) -> list[Key]:
    """A permutation of all pictures."""
    order = torch.randperm(len(images), generator=generator_for(seed, "order", epoch))
    return [(epoch, index) for index in order.tolist()]


def balanced_order(images: ImageSet, seed: int, epoch: int) -> list[Key]:
    """As many draws of every class as make about the set's size; a class's pictures come in turn, over all epochs.

    Those of a small class come several times in an epoch, each time seen anew. Classes without pictures have no part.
    """
    generator = generator_for(seed, "order", epoch)
    classes: dict[int, list[int]] = {}
    for index, label in enumerate(images.labels):
        classes.setdefault(label, []).append(index)
    each = max(1, round(len(images) / len(classes)))
    order: list[Key] = []
    for _, own in sorted(classes.items()):
        turns = (divmod(position, len(own)) for position in range(epoch * each, (epoch + 1) * each))
        order += [(turn, own[place]) for turn, place in turns]
    return [order[position] for position in torch.randperm(len(order), generator=generator).tolist()]


class _Views(Dataset[tuple[list[Tensor], int]]):
    """Training views by key. Small sets are decoded once and kept (decoding dominates at demo sizes).

    Every loader process keeps its own: ``kept_pixels`` is the share of one.
    """

    def __init__(
        self, images: ImageSet, views: tuple[str, ...], seed: int, options: dict[str, Any], kept_pixels: int
    ) -> None:
        self.images, self.views, self.seed, self.options = images, views, seed, options
        self.kept_pixels = kept_pixels
        self.kept: dict[int, Image.Image] = {}

    def picture(self, index: int) -> Image.Image:
        """One picture, kept where as many of its size are few pixels."""
        image = self.kept.get(index)
        if image is None:
            image = self.images.picture(index)
            if len(self.images) * image.width * image.height <= self.kept_pixels:
                self.kept[index] = image
        return image

    def __getitem__(self, key: Key) -> tuple[list[Tensor], int]:
        (turn, index), image = key, self.picture(key[1])
        views = [
            training_view(image, rng=random_for(self.seed, "augment", turn, index, view), **self.options)
            for view in self.views
        ]
        return views, self.images.labels[index]


class _Unseen(Dataset[Unseen]):
    """Pictures as they are, by key, and what is drawn for each view."""

    def __init__(
        self, images: ImageSet, views: tuple[str, ...], seed: int, options: dict[str, Any], kept_pixels: int
    ) -> None:
        self.own, self.views, self.seed = _Views(images, views, seed, {}, kept_pixels), views, seed
        self.drawn = {name: options[name] for name in ("size", "fit", "augment")}

    def __getitem__(self, key: Key) -> Unseen:
        turn, index = key
        image = over_white(self.own.picture(index))
        looks = [
            drawn_look(image, rng=random_for(self.seed, "augment", turn, index, view), **self.drawn)
            for view in self.views
        ]
        return Unseen(torch.from_numpy(np.array(image)), looks, self.own.images.labels[index], self.drawn["size"])


def collated(samples: list[tuple[list[Tensor], int | Tensor]]) -> Batch:
    """Samples of one batch: their views, and a class or a mask of each."""
    views, labels = zip(*samples, strict=True)
    own = torch.stack([torch.as_tensor(label) for label in labels])
    return Batch(tuple(stacked(view) for view in zip(*views, strict=True)), own)


def training_batches(
    images: ImageSet,
    *,
    views: tuple[str, ...],
    batch_size: int,
    sampling: str,
    seed: int,
    start: int,
    stop: int,
    workers: int,
    options: dict[str, Any],
    augment_on: str = "loader",
) -> Iterator[Loaded]:
    """The batches of steps ``start`` to ``stop - 1``; ``options`` go to `training_view`.

    With ``augment_on="device"`` they hold the pictures themselves, and ``to`` makes the same views on the device.
    """
    order: Callable[..., list[Key]] = {"uniform": uniform_order, "balanced": balanced_order}[sampling]
    keys = step_keys(functools.partial(order, images, seed), batch_size, start=start, stop=stop)
    kept_pixels = KEPT_PIXELS // max(1, workers)
    if augment_on == "device":
        unseen = _Unseen(images, views, seed, options, kept_pixels)
        return load_batches(unseen, map(share, keys), UnseenBatch.of, workers)
    return load_batches(_Views(images, views, seed, options, kept_pixels), map(share, keys), collated, workers)


def file_order(count: int, size: int) -> list[list[int]]:
    """Every index once, in order, so many together."""
    return [[*range(start, min(start + size, count))] for start in range(0, count, size)]


def only(samples: list[_One]) -> _One:
    """The only sample of a batch of one."""
    (sample,) = samples
    return sample


def load_batches(
    dataset: Dataset[Any], keys: Iterable[list[Any]], collate: Callable[[list[Any]], _Gathered], workers: int
) -> Iterator[_Gathered]:
    """A batch for each list of keys; the next ones are loaded meanwhile where there are ``workers``.

    Neither the number of workers nor anything else draws a random number.

    Raises:
        UserError: A file is bad, or a loader process is lost.
    """
    loader = DataLoader(
        dataset,
        batch_sampler=keys,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_initialized(),  # type: ignore[no-untyped-call]  # by the network, there already
        worker_init_fn=end_with_feeder,
        generator=torch.Generator(),  # unused by our keys; without it the loader draws from the global generator
    )
    try:
        yield from iterate(loader)
    except UserError as error:  # a worker's error arrives with its traceback in the message
        raise UserError(error.message.rsplit("UserError: ", 1)[-1]) from error


class _Shown(Dataset[tuple[list[Tensor], int]]):
    """Pictures as they are measured, by index."""

    def __init__(self, images: ImageSet, size: int, fit: str) -> None:
        self.images, self.size, self.fit = images, size, fit

    def __getitem__(self, index: int) -> tuple[list[Tensor], int]:
        view = evaluation_view(self.images.picture(index), size=self.size, fit=self.fit)
        return [view], self.images.labels[index]


def evaluation_batches(images: ImageSet, *, size: int, fit: str, batch_size: int, workers: int = 0) -> Iterator[Batch]:
    """Every picture once, in file order, without augmentation."""
    return load_batches(_Shown(images, size, fit), file_order(len(images), batch_size), collated, workers)
