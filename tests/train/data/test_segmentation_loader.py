"""Batches of crops: the same whatever the number of workers and wherever a run starts again."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from csg_train.data.loaders.segmentation_loader import segmentation_batches
from csg_train.data.readers.mask_folders import masked_folder
from csg_train.data.readers.masks import MaskedSet
from csg_train.errors import UserError

NUMBER = 5


@pytest.fixture
def images(tmp_path: Path) -> MaskedSet:
    """Picture k is of the colour 40 k everywhere and of class k."""
    for index in range(NUMBER):
        for folder, array in (("images", np.full((20, 30, 3), 40 * index)), ("masks", np.full((20, 30), index))):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(tmp_path / folder / f"{index}.png")
    (tmp_path / "classes.txt").write_text("a\nb\nc\nd\ne\n")
    return masked_folder(tmp_path)


def batches(images: MaskedSet, start: int, stop: int, workers: int = 0, seed: int = 0) -> list:
    return list(
        segmentation_batches(
            images,
            views=("student", "teacher"),
            batch_size=3,
            seed=seed,
            start=start,
            stop=stop,
            workers=workers,
            options={"size": 16, "scale": (1.0, 1.25)},
        )
    )


def equal(one: list, other: list) -> bool:
    return all(
        torch.equal(a.labels, b.labels) and all(torch.equal(x, y) for x, y in zip(a.views, b.views, strict=True))
        for a, b in zip(one, other, strict=True)
    )


def test_every_picture_comes_once_in_an_epoch_with_its_own_mask(images: MaskedSet) -> None:
    seen = []
    for batch in batches(images, 0, NUMBER):  # three epochs of five
        assert (batch.views[0].shape, batch.views[0].dtype) == ((3, 3, 16, 16), torch.uint8)
        assert (batch.labels.shape, batch.labels.dtype) == ((3, 16, 16), torch.uint8)
        for view, labels in zip(batch.views[0], batch.labels, strict=True):
            assert (view == 40 * labels[0, 0]).all()
            assert (labels == labels[0, 0]).all()
            seen.append(int(labels[0, 0]))
    assert [sorted(seen[epoch : epoch + NUMBER]) for epoch in (0, 5, 10)] == [list(range(NUMBER))] * 3


def test_workers_and_restarts_change_nothing_but_seeds_do(images: MaskedSet) -> None:
    whole = batches(images, 0, 4)
    assert equal(whole, batches(images, 0, 2) + batches(images, 2, 4))
    assert equal(whole, batches(images, 0, 4, workers=2))
    assert not equal(whole, batches(images, 0, 4, seed=1))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_pair_of_different_size_is_one_line(images: MaskedSet, workers: int) -> None:
    Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(images.mask_path(2))
    with pytest.raises(UserError) as caught:
        batches(images, 0, 2, workers=workers)
    assert caught.value.message.startswith("images/2.png has 30x20 pixels but masks/2.png has 4x4")
