"""Views: equal to torchvision where it has the same, drawn from the given generator alone; RandAugment's facts."""

import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms.v2 import CenterCrop, Compose, Resize

from csg_train.data.loaders.batch import stacked
from csg_train.data.views.transforms import OPERATIONS, evaluation_view, randaugment, training_view
from csg_train.seeds import random_for


def picture(width: int = 60, height: int = 40, mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, len(mode)), dtype=np.uint8), mode=mode)


@pytest.mark.parametrize(("width", "height"), [(60, 40), (33, 71), (32, 32)])
def test_evaluation_crop_is_torchvisions_resize_and_center_crop(width, height):
    image = picture(width, height)
    expected = Compose([Resize(32), CenterCrop(32)])(image)
    ours = evaluation_view(image, size=32, fit="crop").permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(ours, np.asarray(expected))


def test_pad_shows_the_whole_picture_on_white():
    image = Image.new("RGB", (80, 40), (10, 20, 30))
    view = evaluation_view(image, size=40, fit="pad")
    assert view.shape == (3, 40, 40)
    assert (view[:, :9] == 255).all()
    assert (view[:, 31:] == 255).all()
    assert view[:, 20, 0].tolist() == [10, 20, 30]
    assert view[:, 20, 39].tolist() == [10, 20, 30]


@pytest.mark.parametrize("size", [(1, 100), (1600, 16), (80, 40), (33, 71), (71, 70), (40, 40), (3, 200)])
def test_pad_is_pillows_but_a_strip_stays_a_pixel_wide(size):
    image = picture(*size)
    ours = evaluation_view(image, size=32, fit="pad").permute(1, 2, 0).numpy()
    assert (ours != 255).any()
    if min(size) * 64 > max(size):  # half a pixel and more
        expected = ImageOps.pad(image, (32, 32), Image.Resampling.BILINEAR, color=(255, 255, 255))
        np.testing.assert_array_equal(ours, np.asarray(expected))


def test_transparent_pixels_become_white_or_varied():
    image = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    image.paste((200, 10, 10, 255), (10, 10, 30, 30))
    options = {"size": 40, "fit": "crop", "augment": "none"}
    plain = training_view(image, background="plain", rng=random.Random(0), **options)
    varied = training_view(image, background="varied", rng=random.Random(0), **options)
    assert plain[:, 0, 0].tolist() == [255, 255, 255]
    assert torch.equal(plain[:, 15:25, 15:25], varied[:, 15:25, 15:25])
    assert not torch.equal(plain[:, :5], varied[:, :5])
    assert torch.equal(plain, evaluation_view(image, size=40, fit="crop"))


def test_views_depend_on_their_key_alone():
    options = {"size": 32, "fit": "crop", "augment": "randaugment", "background": "varied"}

    def view(*key):
        return training_view(picture(mode="RGBA"), rng=random_for(0, "augment", *key), **options)

    first = view(1, 2, "student")
    random.random()
    torch.rand(1)
    assert torch.equal(first, view(1, 2, "student"))
    assert not torch.equal(first, view(1, 2, "teacher"))


def test_randaugment_draws_every_operation_and_keeps_the_size():
    assert len(OPERATIONS) == 14
    seen = {np.asarray(randaugment(picture(), random.Random(seed))).tobytes() for seed in range(300)}
    assert len(seen) >= 15  # signs double most operations, the identity and unlucky probabilities coincide
    assert all(randaugment(picture(), random.Random(seed)).size == (60, 40) for seed in range(30))


def test_randaugment_magnitudes_at_6_of_30():
    """methods.md 1.2: posterize keeps 7 bits, solarize from 204.8, translation by 20 pixels."""
    values = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert("RGB")
    rng = random.Random(0)
    posterized, solarized = (
        np.asarray(OPERATIONS[name](values, rng))[..., 0].ravel() for name in ("posterize", "solarize")
    )
    np.testing.assert_array_equal(posterized, np.arange(256) & 0b11111110)
    np.testing.assert_array_equal(solarized, np.where(np.arange(256) < 204.8, np.arange(256), 255 - np.arange(256)))
    moved = np.asarray(OPERATIONS["translate_x"](picture(), random.Random(0)))
    original = np.asarray(picture())
    left, right = np.array_equal(moved[:, :40], original[:, 20:]), np.array_equal(moved[:, 20:], original[:, :40])
    assert left or right


def test_stacked_pictures_are_channels_last_in_memory():
    views = [torch.randint(0, 256, (3, 5, 4), dtype=torch.uint8) for _ in range(2)]
    assert torch.equal(stacked(views), torch.stack(views))
    assert stacked(views).is_contiguous(memory_format=torch.channels_last)
