"""From a picture and its mask to the model's input: one crop for both, in as many looks as a method asks for.

Every draw comes from an explicit generator. The looks of a crop are keyed by their name, so a method that asks for
one more changes neither the crop nor the others (the torchvision transforms that draw themselves would).
"""

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import functional as v2

from csg_train.data.readers.masks import IGNORE
from csg_train.data.views.pasta import Pasta
from csg_train.data.views.restyle import Styles
from csg_train.data.views.transforms import perturbed
from csg_train.seeds import random_for

__all__ = ["colour_jitter", "random_crop", "segmentation_evaluation_view", "segmentation_views"]

_JITTER = 0.4  # the paper's brightness, contrast, saturation and hue


class _Span(NamedTuple):
    """A crop along one axis, in pixels of the scaled picture: where it starts, how long it is, how long all is."""

    start: int
    kept: int
    scaled: int

    def ends(self, length: int) -> tuple[float, float]:
        """Start and end in a picture of ``length`` pixels."""
        return self.start * length / self.scaled, (self.start + self.kept) * length / self.scaled

    def nearest(self, length: int) -> np.ndarray:
        """The pixel of ``length`` under the centre of each pixel of the crop, ``(kept,)``, exact in integers."""
        centres = 2 * np.arange(self.start, self.start + self.kept) + 1
        result: np.ndarray = centres * length // (2 * self.scaled)
        return result


def _span(length: int, size: int, factor: float, rng: random.Random) -> _Span:
    scaled = max(1, round(length * factor))
    kept = min(scaled, size)
    return _Span(rng.randint(0, scaled - kept), kept, scaled)


def random_crop(
    image: Image.Image, mask_HW: np.ndarray, *, size: int, scale: tuple[float, float], rng: random.Random
) -> tuple[Image.Image, np.ndarray]:
    """Mirror at random, scale by a factor drawn from ``scale``, cut out a square; the same for picture and mask.

    Equal to scaling the whole picture (bilinear; the mask by nearest neighbour) and cropping, but only the crop is
    computed. Where the scaled picture is smaller than the crop, black pixels that are ignored fill up the right and
    the lower border.

    Args:
        image: ``RGB``.
        mask_HW: ``(H, W)`` uint8 training ids of the same size.
        size: Side of the crop in pixels.
        scale: Smallest and largest factor; the paper's are 0.75 and 1.25.
        rng: Drawn from four times, whatever comes out.

    Returns:
        The crop as ``RGB`` and ``(size, size)`` uint8.
    """
    mirrored, factor = rng.random() < 0.5, rng.uniform(*scale)
    across, down = _span(image.width, size, factor, rng), _span(image.height, size, factor, rng)
    if mirrored:
        image, mask_HW = ImageOps.mirror(image), mask_HW[:, ::-1]
    (left, right), (top, bottom) = across.ends(image.width), down.ends(image.height)
    picture = Image.new("RGB", (size, size))
    picture.paste(image.resize((across.kept, down.kept), Image.Resampling.BILINEAR, box=(left, top, right, bottom)))
    labels_HW = np.full((size, size), IGNORE, dtype=np.uint8)
    rows, columns = down.nearest(image.height), across.nearest(image.width)
    labels_HW[: down.kept, : across.kept] = mask_HW[np.ix_(rows, columns)]
    return picture, labels_HW


def colour_jitter(image_3HW: Tensor, rng: random.Random, strength: float = _JITTER) -> Tensor:
    """Brightness, contrast, saturation and hue in random order, as ColorJitter(s, s, s, s) draws them.

    The factors are uniform in 1 - s to 1 + s, the hue's shift in -s to s of the colour circle.

    Args:
        image_3HW: uint8.
        rng: Drawn from.
        strength: s, at most 0.5.
    """
    steps: list[Callable[[Tensor, float], Tensor]] = [v2.adjust_brightness, v2.adjust_contrast, v2.adjust_saturation]
    planned = [(step, rng.uniform(1 - strength, 1 + strength)) for step in steps]
    planned.append((v2.adjust_hue, rng.uniform(-strength, strength)))
    rng.shuffle(planned)
    for step, amount in planned:
        image_3HW = step(image_3HW, amount)
    return image_3HW


def segmentation_views(
    image: Image.Image,
    mask_HW: np.ndarray,
    *,
    size: int,
    scale: tuple[float, float],
    views: Sequence[str],
    rng: random.Random,
    styles: Styles | None = None,
    settings: Pasta | None = None,
) -> tuple[list[Tensor], Tensor]:
    """The training views of one picture: the same crop in every look, and its mask.

    Args:
        image: ``RGB``.
        mask_HW: ``(H, W)`` uint8 training ids of the same size.
        size: Side of the crop in pixels.
        scale: Range of the random scale.
        views: ``student`` is the crop itself, ``teacher`` jitters its colours, ``styled`` needs ``styles``. A number
            at the end (``styled2``) makes a further, independent view of the kind.
        rng: Of this sample.
        styles: Whose look ``styled`` takes.
        settings: Of PASTA, which perturbs the crop for each look by itself, before all else; None for none.

    Returns:
        A ``(3, size, size)`` uint8 tensor for each view, and ``(size, size)`` int64 training ids, `IGNORE` included.
    """
    crop, labels_HW = random_crop(image, mask_HW, size=size, scale=scale, rng=rng)
    key = rng.getrandbits(63)
    crops = [crop if settings is None else perturbed(crop, settings, random_for(key, view, "pasta")) for view in views]
    looks = [_look(own, view, random_for(key, view), styles) for own, view in zip(crops, views, strict=True)]
    return looks, torch.from_numpy(labels_HW.astype(np.int64))


def _look(crop: Image.Image, view: str, rng: random.Random, styles: Styles | None) -> Tensor:
    kind = view.rstrip("0123456789")
    if kind == "student":
        return _tensor(np.array(crop))
    if kind == "teacher":
        return colour_jitter(_tensor(np.array(crop)), rng)
    assert kind == "styled", f"no such view: {view}"
    assert styles is not None, "the view 'styled' needs styles"
    return _tensor(styles.apply(np.array(crop), rng))


def _tensor(pixels_HW3: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels_HW3).permute(2, 0, 1).contiguous()


def segmentation_evaluation_view(image: Image.Image, *, longest_side: int | None) -> Tensor:
    """The one view that is measured: the whole picture, shrunk (bilinear) only where its longer side is too long.

    The mask keeps its size: the logits are brought to it, so a cap costs detail but changes no pixel of the truth.

    Args:
        image: ``RGB``.
        longest_side: Cap in pixels; None for none, as in the paper.

    Returns:
        ``(3, h, w)`` uint8.
    """
    if longest_side is not None and max(image.size) > longest_side:
        factor = longest_side / max(image.size)
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        image = image.resize(size, Image.Resampling.BILINEAR)
    return _tensor(np.array(image))
