"""Views: equal to torchvision where it has the same, drawn from the given generator alone; RandAugment's facts."""

import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torchvision.transforms.v2 import CenterCrop, Compose, Resize

from csg_train.data.loaders.batch import stacked
from csg_train.data.readers.sets import unlabelled
from csg_train.data.views.transforms import (
    OPERATIONS,
    evaluation_view,
    placed,
    randaugment,
    signed,
    smooth_background,
    training_view,
)
from csg_train.seeds import random_for


def picture(width: int = 60, height: int = 40, mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, len(mode)), dtype=np.uint8), mode=mode)


@pytest.mark.parametrize(("width", "height"), [(60, 40), (33, 71), (32, 32), (35, 32), (32, 39), (37, 32)])
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


def test_half_transparent_pixels_mix_with_the_varied_background():
    image = Image.new("RGBA", (40, 40), (200, 10, 10, 102))
    view = training_view(image, size=40, fit="crop", augment="none", background="varied", rng=random.Random(0))
    under = np.array(smooth_background((40, 40), random.Random(0)), dtype=float)
    expected = under + 102 / 255 * (np.array([200, 10, 10]) - under)
    assert np.abs(view.permute(1, 2, 0).numpy() - expected).max() <= 1


def test_the_varied_background_is_blurred_by_nought_to_three_pixels(monkeypatch):
    radii, none = [], ImageFilter.BoxBlur(0)
    filters = "csg_train.data.views.transforms.ImageFilter.GaussianBlur"
    monkeypatch.setattr(filters, lambda radius: radii.append(radius) or none)
    for seed in range(400):
        smooth_background((6, 6), random.Random(seed))
    assert 0 <= min(radii) < 0.1
    assert 2.9 < max(radii) <= 3


def test_a_part_of_a_photograph_lies_under_transparency(tmp_path):
    """Photos that tell where a pixel is from: red counts columns, green rows, blue the photo."""
    rows, columns = np.mgrid[:60, :90]
    for number in range(3):
        pixels = np.stack([columns, rows, np.full_like(rows, 100 * number)], axis=-1).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    photos = unlabelled(tmp_path, ())
    image = Image.new("RGBA", (60, 60), (0, 0, 0, 0))
    image.paste((9, 8, 7, 255), (10, 10, 20, 20))
    seen = set()
    for seed in range(40):
        options = {"size": 60, "fit": "pad", "augment": "none", "background": photos}
        view = training_view(image, rng=random.Random(seed), **options).permute(1, 2, 0).numpy()
        assert (view[10:20, 10:20] == (9, 8, 7)).all()
        left, number = int(view[0, 0, 0]), int(view[0, 0, 2])
        view[10:20, 10:20] = np.array(Image.open(tmp_path / f"{number // 100}.png"))[10:20, left + 10 : left + 20]
        whole = np.array(Image.open(tmp_path / f"{number // 100}.png"))
        np.testing.assert_array_equal(view, whole[:, left : left + 60])
        seen.add((left, number))
    assert {number for _, number in seen} == {0, 100, 200}
    assert len(seen) > 20
    opaque = image.convert("RGB")
    options = {"size": 60, "fit": "pad", "augment": "none", "rng": random.Random(0)}
    assert torch.equal(training_view(opaque, background=photos, **options), evaluation_view(opaque, size=60, fit="pad"))


def test_either_sign_is_drawn_as_often():
    """Four standard deviations of a mean of fair signs."""
    assert abs(np.mean([signed(1.0, random.Random(seed)) for seed in range(4000)])) < 4 / 4000**0.5


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


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("rotate", lambda image, sign: image.rotate(sign * 6)),
        (
            "shear_x",
            lambda image, sign: image.transform(image.size, Image.Transform.AFFINE, (1, sign * 0.06, 0, 0, 1, 0)),
        ),
        (
            "shear_y",
            lambda image, sign: image.transform(image.size, Image.Transform.AFFINE, (1, 0, 0, sign * 0.06, 1, 0)),
        ),
        (
            "translate_x",
            lambda image, sign: image.transform(image.size, Image.Transform.AFFINE, (1, 0, sign * 20, 0, 1, 0)),
        ),
        (
            "translate_y",
            lambda image, sign: image.transform(image.size, Image.Transform.AFFINE, (1, 0, 0, 0, 1, sign * 20)),
        ),
        ("color", lambda image, sign: ImageEnhance.Color(image).enhance(1 + sign * 0.18)),
        ("contrast", lambda image, sign: ImageEnhance.Contrast(image).enhance(1 + sign * 0.18)),
        ("brightness", lambda image, sign: ImageEnhance.Brightness(image).enhance(1 + sign * 0.18)),
        ("sharpness", lambda image, sign: ImageEnhance.Sharpness(image).enhance(1 + sign * 0.18)),
    ],
)
def test_magnitude_6_of_30_with_either_sign_as_often(name, made):
    image, expected = picture(), [np.asarray(made(picture(), sign)) for sign in (1, -1)]
    found = [np.asarray(OPERATIONS[name](image, random.Random(seed))) for seed in range(200)]
    counts = [sum(np.array_equal(own, each) for own in found) for each in expected]
    assert sum(counts) == 200
    assert abs(counts[0] - 100) < 4 * 200**0.5 / 2


@pytest.mark.parametrize(("name", "made"), [("autocontrast", ImageOps.autocontrast), ("equalize", ImageOps.equalize)])
def test_autocontrast_and_equalize_happen_one_time_in_five(name, made):
    image = Image.fromarray(np.random.default_rng(0).integers(60, 190, (40, 60, 3), dtype=np.uint8))  # of a few levels
    changed, kept = np.asarray(made(image)), np.asarray(image)
    found = [np.asarray(OPERATIONS[name](image, random.Random(seed))) for seed in range(1000)]
    count = sum(np.array_equal(own, changed) for own in found)
    assert count + sum(np.array_equal(own, kept) for own in found) == 1000
    assert abs(count - 200) < 4 * (1000 * 0.2 * 0.8) ** 0.5


@pytest.mark.parametrize("turned", [False, True])
def test_a_crop_is_anywhere_and_each_place_as_often(turned):
    """60 x 20 at size 20: left is 0 to 40, top 0; and the other way round."""
    side = (20, 60) if turned else (60, 20)
    corners = np.array([placed(side, 20, "crop", random.Random(seed))[1] for seed in range(4000)])
    assert not corners[:, 1 - turned].any()
    free = corners[:, int(turned)]
    assert set(free) == set(range(41))
    assert abs(free.mean() - 20) < 4 * 11.83 / 4000**0.5
