"""From a decoded picture to the model's input, with every random draw from an explicit generator.

The draws of a sample are keyed by (seed, how often the picture came before, index, view), so neither worker count nor a
restart changes them.
"""

import math
import random
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor

from csg_train.data.readers.images import ImageSet, over_white
from csg_train.data.views.augmix import augmix
from csg_train.data.views.pasta import Pasta, pasta

__all__ = [
    "AFFINE",
    "NAMES",
    "OPERATIONS",
    "ROTATION",
    "enhancement",
    "evaluation_view",
    "perturbed",
    "photograph",
    "placed",
    "randaugment",
    "signed",
    "training_view",
]

_WHITE = (255, 255, 255)
_MAGNITUDE, _LEVELS = 6, 30  # CSG's RandAugment(n=1, m=6 of 30)


def signed(amount: float, rng: random.Random) -> float:
    """The amount, or its opposite, each as often."""
    return amount if rng.random() < 0.5 else -amount


def enhancement(rng: random.Random) -> float:
    """The factor of colour, contrast, brightness or sharpness; 1 changes nothing."""
    return 1 + signed(0.9 * _MAGNITUDE / _LEVELS, rng)


def _moving(
    amount: float, matrix: Callable[[float], tuple[float, ...]]
) -> Callable[[Image.Image, random.Random], Image.Image]:
    return lambda image, rng: image.transform(image.size, Image.Transform.AFFINE, matrix(signed(amount, rng)))


_SHARE = _MAGNITUDE / _LEVELS
ROTATION = 30 * _SHARE  # degrees
AFFINE: dict[str, tuple[float, Callable[[float], tuple[float, ...]]]] = {
    "shear_x": (0.3 * _SHARE, lambda amount: (1, amount, 0, 0, 1, 0)),
    "shear_y": (0.3 * _SHARE, lambda amount: (1, 0, 0, amount, 1, 0)),
    "translate_x": (100 * _SHARE, lambda amount: (1, 0, amount, 0, 1, 0)),
    "translate_y": (100 * _SHARE, lambda amount: (1, 0, 0, 0, 1, amount)),
}
"""Amount, whose sign is drawn, and where a pixel at (x, y) comes from: (a x + b y + c, d x + e y + f)."""
OPERATIONS: dict[str, Callable[[Image.Image, random.Random], Image.Image]] = {
    "identity": lambda image, rng: image,
    "autocontrast": lambda image, rng: ImageOps.autocontrast(image) if rng.random() < _SHARE else image,
    "equalize": lambda image, rng: ImageOps.equalize(image) if rng.random() < _SHARE else image,
    "rotate": lambda image, rng: image.rotate(signed(ROTATION, rng)),
    "posterize": lambda image, rng: ImageOps.posterize(image, 8 - int(7 * _SHARE)),
    "solarize": lambda image, rng: ImageOps.solarize(image, math.ceil(256 * (1 - _SHARE))),
    "color": lambda image, rng: ImageEnhance.Color(image).enhance(enhancement(rng)),
    "contrast": lambda image, rng: ImageEnhance.Contrast(image).enhance(enhancement(rng)),
    "brightness": lambda image, rng: ImageEnhance.Brightness(image).enhance(enhancement(rng)),
    "sharpness": lambda image, rng: ImageEnhance.Sharpness(image).enhance(enhancement(rng)),
    **{name: _moving(*moved) for name, moved in AFFINE.items()},
}


NAMES = tuple(OPERATIONS)


def randaugment(image: Image.Image, rng: random.Random) -> Image.Image:
    """The paper's RandAugment: one of 14 operations, uniformly, at magnitude 6 of 30.

    AutoContrast and Equalize use the magnitude as a probability of 0.2, as the official code does. Uncovered pixels
    are black (Pillow's default).
    """
    return OPERATIONS[rng.choice(NAMES)](image, rng)


def smooth_background(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A random picture of a few soft colours: what ``background: varied`` puts under transparent pictures."""
    side = rng.choice((2, 3, 4, 8))
    colours = np.frombuffer(rng.randbytes(side * side * 3), dtype=np.uint8).reshape(side, side, 3)
    image = Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC)
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 3)))


def photograph(images: ImageSet, size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A random part, as large as its shape allows, of a random photograph: what ``background: FOLDER`` puts there."""
    photo = over_white(images.picture(rng.randrange(len(images))))
    return ImageOps.fit(photo, size, Image.Resampling.BILINEAR, centering=(rng.random(), rng.random()))


def placed(
    image_size: tuple[int, int], size: int, fit: str, rng: random.Random | None
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Width and height that a picture is scaled to, and where in it the square begins: left, top.

    With ``fit="crop"`` and a generator the crop's place is random, else central; of ``pad`` it is negative.
    """
    if fit == "pad":
        # As ImageOps.pad, but a strip stays a pixel wide: Pillow 12 fails at 0 pixels, Pillow 13 shows white alone.
        width, height = (max(1, round(side / max(image_size) * size)) for side in image_size)
        return (width, height), (-round((size - width) / 2), -round((size - height) / 2))
    short = min(image_size)  # sides and centre rounded as torchvision's Resize and CenterCrop do
    width, height = size * image_size[0] // short, size * image_size[1] // short
    left, top = width - size, height - size
    corner = (round(left / 2), round(top / 2)) if rng is None else (rng.randint(0, left), rng.randint(0, top))
    return (width, height), corner


def _square(image: Image.Image, size: int, fit: str, rng: random.Random | None) -> Image.Image:
    """Square a picture, white beyond it."""
    scaled, (left, top) = placed(image.size, size, fit, rng)
    square = Image.new("RGB", (size, size), _WHITE)
    square.paste(image.resize(scaled, Image.Resampling.BILINEAR), (-left, -top))
    return square


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1)


def perturbed(image: Image.Image, settings: Pasta, rng: random.Random) -> Image.Image:
    """`pasta` of an ``RGB`` picture."""
    return Image.fromarray(pasta(np.array(image), settings, np.random.default_rng(rng.getrandbits(63))))


def training_view(
    image: Image.Image,
    *,
    size: int,
    fit: str,
    augment: str,
    background: Literal["plain", "varied"] | ImageSet,
    rng: random.Random,
    settings: Pasta | None = None,
) -> Tensor:
    """One training view of an ``RGB`` or ``RGBA`` picture: background, augmentation, square.

    Args:
        image: The decoded picture.
        size: Side of the view.
        fit: ``crop`` or ``pad``.
        augment: ``none``, ``randaugment``, ``pasta``, ``pasta+randaugment`` (in this order) or ``augmix``.
        background: What lies under transparency: white (``plain``), smooth colours (``varied``), or photographs.
        rng: Of this sample and view.
        settings: Of PASTA.

    Returns:
        ``(3, size, size)`` uint8.
    """
    if background != "plain" and image.mode == "RGBA":
        if isinstance(background, ImageSet):
            under = photograph(background, image.size, rng)
        else:
            under = smooth_background(image.size, rng)
        under.paste(image, mask=image.getchannel("A"))
        image = under
    image = over_white(image)
    if augment.startswith("pasta"):
        assert settings is not None
        image = perturbed(image, settings, rng)
    if augment.endswith("randaugment"):
        image = randaugment(image, rng)
    elif augment == "augmix":
        image = augmix(image, rng)
    return _tensor(_square(image, size, fit, None if augment == "none" else rng))


def evaluation_view(image: Image.Image, *, size: int, fit: str) -> Tensor:
    """The one view that is measured: over white, squared, central. ``(3, size, size)`` uint8."""
    return _tensor(_square(over_white(image), size, fit, None))
