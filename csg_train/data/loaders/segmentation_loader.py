"""Batches of crops and masks whose content depends on (seed, step) alone, as those of `loader`."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from csg_train.data.loaders import loader
from csg_train.data.loaders.batch import Batch
from csg_train.data.loaders.loader import Key, collated, file_order, load_batches, only, step_keys, uniform_order
from csg_train.data.readers.images import over_white
from csg_train.data.readers.masks import MaskedSet, picture_and_mask
from csg_train.data.readers.sets import AnySet
from csg_train.data.views.segmentation_views import segmentation_evaluation_view, segmentation_views
from csg_train.distributed import share
from csg_train.seeds import random_for

__all__ = ["segmentation_batches", "whole_pictures"]


class _Crops(Dataset[tuple[list[Tensor], Tensor]]):
    """Views and mask by key. Small sets are decoded once and kept, by every loader process its own."""

    def __init__(
        self, images: MaskedSet, views: Sequence[str], seed: int, options: dict[str, Any], kept_pixels: int
    ) -> None:
        self.images, self.views, self.seed, self.options = images, views, seed, options
        self.kept_pixels = kept_pixels
        self.kept: dict[int, tuple[Image.Image, np.ndarray]] = {}

    def __getitem__(self, key: Key) -> tuple[list[Tensor], Tensor]:
        turn, index = key
        pair = self.kept.get(index)
        if pair is None:
            pair = picture_and_mask(self.images, index)
            if len(self.images) * pair[1].size <= self.kept_pixels:
                self.kept[index] = pair
        rng = random_for(self.seed, "augment", turn, index)
        return segmentation_views(*pair, views=self.views, rng=rng, **self.options)


def segmentation_batches(
    images: MaskedSet,
    *,
    views: Sequence[str],
    batch_size: int,
    seed: int,
    start: int,
    stop: int,
    workers: int,
    options: dict[str, Any],
) -> Iterator[Batch]:
    """The batches of steps ``start`` to ``stop - 1``; ``options`` go to `segmentation_views`.

    Every epoch is a permutation of all pictures (the official loader draws with replacement).

    Raises:
        UserError: A picture or mask is bad, or their sizes differ.
    """
    keys = step_keys(functools.partial(uniform_order, images, seed), batch_size, start=start, stop=stop)
    crops = _Crops(images, views, seed, options, loader.KEPT_PIXELS // max(1, workers))
    return load_batches(crops, map(share, keys), collated, workers)


class _Whole(Dataset[Batch]):
    """A picture as it is measured, whole, and its mask or label: a batch of one, for pictures may differ in size."""

    def __init__(self, images: AnySet, longest_side: int | None, multiple: int) -> None:
        self.images, self.longest_side, self.multiple = images, longest_side, multiple

    def __getitem__(self, index: int) -> Batch:
        if isinstance(self.images, MaskedSet):
            picture, mask_HW = picture_and_mask(self.images, index)
            truth = torch.from_numpy(np.array(mask_HW))
        else:
            picture, truth = over_white(self.images.picture(index)), torch.tensor(self.images.labels[index])
        view = segmentation_evaluation_view(picture, longest_side=self.longest_side, multiple=self.multiple)
        return Batch((view[None],), truth[None])


def whole_pictures(images: AnySet, *, longest_side: int | None, multiple: int = 1, workers: int = 0) -> Iterator[Batch]:
    """Every picture once, in file order, whole, with its mask or, where it has none, its label; one a batch."""
    return load_batches(_Whole(images, longest_side, multiple), file_order(len(images), 1), only, workers)
