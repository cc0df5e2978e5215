"""From a picture and its mask to the model's input: one crop for both, in as many looks as a method asks for.

Every draw comes from an explicit generator. The looks of a crop are keyed by their name, so a method that asks for
one more changes neither the crop nor the others (the torchvision transforms that draw themselves would).
"""

import random
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

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

__all__ = [
    "Crop",
    "colour_jitter",
    "evaluated_size",
    "random_crop",
    "segmentation_evaluation_view",
    "segmentation_views",
]

_JITTER = 0.4  # CSG's brightness, contrast, saturation and hue
_Colour = tuple[int, int, int]
_Picture = TypeVar("_Picture", Image.Image, Tensor)


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


class Crop(NamedTuple):
    """What is drawn for a picture: one place for every look of it, and for its mask.

    Attributes:
        mirrored: Left and right change places, before all else.
        across: The crop's columns.
        down: Its rows.
        size: Side of the square that the crop fills, or lies in.
        fill: Colour of the rest, which lies on all sides; None for black at the right and the lower border.
    """

    mirrored: bool
    across: _Span
    down: _Span
    size: int
    fill: _Colour | None

    @property
    def corner(self) -> tuple[int, int]:
        """Left and upper end of the crop in the square."""
        if self.fill is None:
            return 0, 0
        return (self.size - self.across.kept) // 2, (self.size - self.down.kept) // 2

    def of(self, image: Image.Image) -> Image.Image:
        """The crop of the picture."""
        (left, right), (top, bottom) = self.across.ends(image.width), self.down.ends(image.height)
        kept, box = (self.across.kept, self.down.kept), (left, top, right, bottom)
        return self._squared(self._turned(image).resize(kept, Image.Resampling.BILINEAR, box=box))

    def jittered(self, image: Image.Image, rng: random.Random) -> Image.Image:
        """The crop of the picture after `colour_jitter` of all of it, mirrored and scaled."""
        scaled = self._turned(image).resize((self.across.scaled, self.down.scaled), Image.Resampling.BILINEAR)
        left, top = self.across.start, self.down.start
        box = (left, top, left + self.across.kept, top + self.down.kept)
        return self._squared(colour_jitter(scaled, rng).crop(box))

    def of_mask(self, mask_HW: np.ndarray) -> np.ndarray:
        """The crop of the mask, ``(size, size)``."""
        mask_HW = mask_HW[:, ::-1] if self.mirrored else mask_HW
        labels_HW = np.full((self.size, self.size), IGNORE, dtype=np.uint8)
        rows, columns = self.down.nearest(mask_HW.shape[0]), self.across.nearest(mask_HW.shape[1])
        left, top = self.corner
        labels_HW[top : top + self.down.kept, left : left + self.across.kept] = mask_HW[np.ix_(rows, columns)]
        return labels_HW

    def _turned(self, image: Image.Image) -> Image.Image:
        return ImageOps.mirror(image) if self.mirrored else image

    def _squared(self, crop: Image.Image) -> Image.Image:
        picture = Image.new("RGB", (self.size, self.size), self.fill or 0)
        picture.paste(crop, self.corner)
        return picture


def _span(length: int, size: int, factor: float, rng: random.Random) -> _Span:
    scaled = max(1, round(length * factor))
    kept = min(scaled, size)
    return _Span(rng.randint(0, scaled - kept), kept, scaled)


def random_crop(
    image_size: tuple[int, int],
    *,
    size: int,
    scale: tuple[float, float],
    rng: random.Random,
    fill: _Colour | None = None,
) -> Crop:
    """Draw: mirror at random, scale by a factor drawn from ``scale``, cut out a square; the same for picture and mask.

    Equal to scaling the whole picture (bilinear; the mask by nearest neighbour) and cropping, but only the crop is
    computed. Where the scaled picture is smaller than the crop, pixels that are ignored fill it up.

    Args:
        image_size: Width and height.
        size: Side of the crop in pixels.
        scale: Smallest and largest factor; CSG's are 0.75 and 1.25.
        rng: Drawn from four times, whatever comes out.
        fill: Colour of the pixels that fill up, on all sides alike (of an odd number one more below and to the right);
            None for black ones at the right and the lower border.
    """
    mirrored, factor = rng.random() < 0.5, rng.uniform(*scale)
    across, down = (_span(length, size, factor, rng) for length in image_size)
    return Crop(mirrored, across, down, size, fill)


def colour_jitter(image: _Picture, rng: random.Random, strength: float = _JITTER) -> _Picture:
    """Brightness, contrast, saturation and hue in random order, as ColorJitter(s, s, s, s) draws them.

    The factors are uniform in 1 - s to 1 + s, the hue's shift in -s to s of the colour circle.

    Args:
        image: A uint8 tensor ``(3, H, W)``; or an ``RGB`` picture, which Pillow changes: up to 9 of 255 levels apart,
            for its hue has 256 steps.
        rng: Drawn from.
        strength: s, at most 0.5.
    """
    steps: list[Callable[[Any, float], Any]] = [v2.adjust_brightness, v2.adjust_contrast, v2.adjust_saturation]
    planned = [(step, rng.uniform(1 - strength, 1 + strength)) for step in steps]
    planned.append((v2.adjust_hue, rng.uniform(-strength, strength)))
    rng.shuffle(planned)
    for step, amount in planned:
        image = step(image, amount)
    return image


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
    jitter: Literal["crop", "picture"] = "crop",
    fill: _Colour | None = None,
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
        jitter: What the jitter of ``teacher`` sees, whose mean sets the contrast: the ``crop``, or the whole scaled
            ``picture`` in Pillow's arithmetic (the released code), before PASTA.
        fill: See `random_crop`.

    Returns:
        A ``(3, size, size)`` uint8 tensor for each view, and ``(size, size)`` uint8 training ids, `IGNORE` included.
    """
    crop = random_crop(image.size, size=size, scale=scale, rng=rng, fill=fill)
    key, square = rng.getrandbits(63), crop.of(image)

    def look(view: str) -> Tensor:
        kind, own, rng = view.rstrip("0123456789"), square, random_for(key, view)
        assert kind in ("student", "teacher", "styled"), f"no such view: {view}"
        if kind == "teacher" and jitter == "picture":
            own = crop.jittered(image, rng)
        if settings is not None:
            own = perturbed(own, settings, random_for(key, view, "pasta"))
        if kind == "teacher" and jitter == "crop":
            return colour_jitter(_tensor(np.array(own)), rng)
        if kind == "styled":
            assert styles is not None, "the view 'styled' needs styles"
            return _tensor(styles.apply(np.array(own), rng))
        return _tensor(np.array(own))

    return [look(view) for view in views], torch.from_numpy(crop.of_mask(mask_HW))


def _tensor(pixels_HW3: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels_HW3).permute(2, 0, 1).contiguous()


def evaluated_size(size: tuple[int, int], longest_side: int | None, multiple: int = 1) -> tuple[int, int]:
    """The size at which a whole picture is measured: its own, or smaller where its longer side is too long.

    Sides are then the nearest multiples of ``multiple``, and at least one.
    """
    factor = 1 if longest_side is None else min(1, longest_side / max(size))
    width, height = (max(1, round(max(1, round(side * factor)) / multiple)) * multiple for side in size)
    return width, height


def segmentation_evaluation_view(image: Image.Image, *, longest_side: int | None, multiple: int = 1) -> Tensor:
    """The one view that is measured: the whole picture, resized (bilinear) only where its sides have to be others.

    The mask keeps its size: the logits are brought to it, so this costs detail but changes no pixel of the truth.

    Args:
        image: ``RGB``.
        longest_side: Cap in pixels; None for none, as in CSG's code.
        multiple: What the backbone wants the sides to be multiples of.

    Returns:
        ``(3, h, w)`` uint8.
    """
    size = evaluated_size(image.size, longest_side, multiple)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    return _tensor(np.array(image))
