"""From a decoded picture to the model's input, with every random draw from an explicit generator.

The draws of a sample are keyed by (seed, epoch, index, view), so neither worker count nor a restart changes them.
"""

import math
import random
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor

from csg_train.data.readers.images import over_white
from csg_train.data.views.augmix import augmix
from csg_train.data.views.pasta import Pasta, pasta

__all__ = ["evaluation_view", "perturbed", "randaugment", "training_view"]

_WHITE = (255, 255, 255)
_MAGNITUDE, _LEVELS = 6, 30  # the paper's RandAugment(n=1, m=6 of 30)


def _affine(image: Image.Image, a: float, b: float, c: float, d: float, e: float, f: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, (a, b, c, d, e, f))


def _signed(low_high: float, rng: random.Random) -> float:
    return low_high if rng.random() < 0.5 else -low_high


def _enhance(
    kind: Callable[[Image.Image], ImageEnhance._Enhance],
) -> Callable[[Image.Image, random.Random], Image.Image]:
    return lambda image, rng: kind(image).enhance(1 + _signed(0.9 * _MAGNITUDE / _LEVELS, rng))


_SHARE = _MAGNITUDE / _LEVELS
_OPERATIONS: tuple[Callable[[Image.Image, random.Random], Image.Image], ...] = (
    lambda image, rng: image,
    lambda image, rng: ImageOps.autocontrast(image) if rng.random() < _SHARE else image,
    lambda image, rng: ImageOps.equalize(image) if rng.random() < _SHARE else image,
    lambda image, rng: image.rotate(_signed(30 * _SHARE, rng)),
    lambda image, rng: ImageOps.posterize(image, 8 - int(7 * _SHARE)),
    lambda image, rng: ImageOps.solarize(image, math.ceil(256 * (1 - _SHARE))),
    _enhance(ImageEnhance.Color),
    _enhance(ImageEnhance.Contrast),
    _enhance(ImageEnhance.Brightness),
    _enhance(ImageEnhance.Sharpness),
    lambda image, rng: _affine(image, 1, _signed(0.3 * _SHARE, rng), 0, 0, 1, 0),
    lambda image, rng: _affine(image, 1, 0, 0, _signed(0.3 * _SHARE, rng), 1, 0),
    lambda image, rng: _affine(image, 1, 0, _signed(100 * _SHARE, rng), 0, 1, 0),
    lambda image, rng: _affine(image, 1, 0, 0, 0, 1, _signed(100 * _SHARE, rng)),
)


def randaugment(image: Image.Image, rng: random.Random) -> Image.Image:
    """The paper's RandAugment: one of 14 operations, uniformly, at magnitude 6 of 30.

    AutoContrast and Equalize use the magnitude as a probability of 0.2, as the official code does. Uncovered pixels
    are black (Pillow's default).
    """
    return rng.choice(_OPERATIONS)(image, rng)


def smooth_background(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """A random picture of a few soft colours: what ``background: varied`` puts under transparent pictures."""
    side = rng.choice((2, 3, 4, 8))
    colours = np.frombuffer(rng.randbytes(side * side * 3), dtype=np.uint8).reshape(side, side, 3)
    image = Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC)
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 3)))


def _square(image: Image.Image, size: int, fit: str, rng: random.Random | None) -> Image.Image:
    """Square a picture; with ``fit="crop"`` and a generator the crop's place is random, else central."""
    if fit == "pad":
        # As ImageOps.pad, but a strip stays a pixel wide: Pillow 12 fails at 0 pixels, Pillow 13 shows white alone.
        width, height = (max(1, round(side / max(image.size) * size)) for side in image.size)
        square = Image.new("RGB", (size, size), _WHITE)
        place = (round((size - width) / 2), round((size - height) / 2))
        square.paste(image.resize((width, height), Image.Resampling.BILINEAR), place)
        return square
    short = min(image.size)  # sides and centre rounded as torchvision's Resize and CenterCrop do
    image = image.resize((size * image.width // short, size * image.height // short), Image.Resampling.BILINEAR)
    left, top = image.width - size, image.height - size
    left, top = (round(left / 2), round(top / 2)) if rng is None else (rng.randint(0, left), rng.randint(0, top))
    return image.crop((left, top, left + size, top + size))


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
    background: str,
    rng: random.Random,
    settings: Pasta | None = None,
) -> Tensor:
    """One training view of an ``RGB`` or ``RGBA`` picture: background, augmentation, square.

    Args:
        image: The decoded picture.
        size: Side of the view.
        fit: ``crop`` or ``pad``.
        augment: ``none``, ``randaugment``, ``pasta``, ``pasta+randaugment`` (in this order) or ``augmix``.
        background: ``plain`` or ``varied``.
        rng: Of this sample and view.
        settings: Of PASTA.

    Returns:
        ``(3, size, size)`` uint8.
    """
    if background == "varied" and image.mode == "RGBA":
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
