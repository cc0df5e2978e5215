"""Views of a batch at once beside Pillow's, one by one: the same draws, and pixels at most a level apart."""

import random

import numpy as np
import pytest
import torch
from PIL import Image

from csg_train.data.loaders.loader import training_batches
from csg_train.data.readers.images import image_folder
from csg_train.data.views.looks import Looks, drawn_look
from csg_train.data.views.transforms import NAMES, training_view


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Soft blobs and noise, some of whose levels are missing."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(20, 230, (5, 6, 3), dtype=np.uint8))
    soft = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray((soft + rng.integers(-15, 15, soft.shape)).clip(0, 240).astype(np.uint8))


PICTURES = [picture(*size, seed) for seed, size in enumerate([(61, 40), (33, 71), (150, 101), (32, 32), (24, 20)])]


def together(images: list[Image.Image], seeds: list[int], **options: object) -> torch.Tensor:
    """As a batch, in a frame larger than the largest, with other pixels around."""
    frame = torch.full((len(images), 160, 170, 3), 77, dtype=torch.uint8)
    for place, image in zip(frame, images, strict=True):
        place[: image.height, : image.width] = torch.from_numpy(np.array(image))
    looks = [drawn_look(i, rng=random.Random(seed), **options) for i, seed in zip(images, seeds, strict=True)]
    return Looks.of(looks).applied(frame, torch.tensor([(i.height, i.width) for i in images]), options["size"])


def apart(images: list[Image.Image], seeds: list[int], **options: object) -> torch.Tensor:
    views = [
        training_view(i, background="plain", rng=random.Random(seed), **options)
        for i, seed in zip(images, seeds, strict=True)
    ]
    return torch.stack(views)


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize("name", NAMES)
def test_each_operation_is_pillows(name, fit, monkeypatch):
    """Both signs, both outcomes; smaller and larger than the view. Pillow rounds twice while it scales."""
    for module in ("transforms", "looks"):
        monkeypatch.setattr(f"csg_train.data.views.{module}.NAMES", (name,))
    for seeds in ([0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12, 13, 14]):
        given = {"size": 32, "fit": fit, "augment": "randaugment"}
        ours, pillows = together(PICTURES, seeds, **given).int(), apart(PICTURES, seeds, **given).int()
        assert (ours - pillows).abs().max() <= 1
        assert abs((ours - pillows).float().mean()) < 0.1


@pytest.mark.parametrize("name", NAMES)
def test_without_scaling_pixels_are_equal(name, monkeypatch):
    for module in ("transforms", "looks"):
        monkeypatch.setattr(f"csg_train.data.views.{module}.NAMES", (name,))
    images = [picture(48, 48, seed) for seed in range(4)]
    for seeds in ([0, 1, 2, 3], [4, 5, 6, 7]):
        given = {"size": 48, "fit": "crop", "augment": "randaugment"}
        assert torch.equal(together(images, seeds, **given), apart(images, seeds, **given))


@pytest.mark.parametrize("augment", ["none", "randaugment"])
def test_as_many_draws_are_made(augment):
    """The generator is where it would be, so what is drawn from it later does not change either."""
    for seed in range(60):
        one, other = random.Random(seed), random.Random(seed)
        drawn_look(PICTURES[2], size=32, fit="crop", augment=augment, rng=one)
        training_view(PICTURES[2], size=32, fit="crop", augment=augment, background="plain", rng=other)
        assert one.getstate() == other.getstate()


def test_the_view_is_channels_last_bytes():
    view = together(PICTURES, [0] * 5, size=32, fit="crop", augment="none")
    assert (view.shape, view.dtype) == ((5, 3, 32, 32), torch.uint8)
    assert view.is_contiguous(memory_format=torch.channels_last)


def test_batches_of_the_device_are_those_of_the_loader(trees):
    """Two views of every picture of an epoch, whoever loads them."""
    images = image_folder(trees / "source", name="any")

    def batches(augment_on, workers=0):
        options = {"size": 32, "fit": "crop", "augment": "randaugment", "background": "plain"}
        choice = {"batch_size": 5, "sampling": "balanced", "seed": 3, "start": 1, "stop": 4, "options": options}
        views = ("student", "teacher")
        for batch in training_batches(images, views=views, workers=workers, augment_on=augment_on, **choice):
            yield batch.to(torch.device("cpu"))

    seen = 0
    for ours, loaders, shared in zip(batches("device"), batches("loader"), batches("device", 2), strict=True):
        assert torch.equal(ours.labels, loaders.labels)
        for one, other, same in zip(ours.views, loaders.views, shared.views, strict=True):
            assert (one.int() - other.int()).abs().max() <= 1
            assert torch.equal(one, same)
        assert not torch.equal(*ours.views)
        seen += len(ours.labels)
    assert seen == 15
