"""What is drawn for the training views of a picture, and all of it applied to a batch at once, on any device.

The draws, their order and the arithmetic are those of `transforms` (Pillow's): one operation of RandAugment at the
picture's own size, then scaling and crop. The operation gives equal pixels; scaled ones are a level of 255 apart at
most, since Pillow rounds between rows and columns too.

Shapes: N pictures, H rows and W columns of the largest, S side of the view.
"""

import math
import random
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import torch
from PIL import Image, ImageStat
from torch import Tensor

from csg_train.data.views.transforms import AFFINE, NAMES, OPERATIONS, ROTATION, enhancement, placed, signed
from csg_train.devices import arithmetic

__all__ = ["Look", "Looks", "drawn_look"]

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_FIXED = 1 << 16  # Pillow's coordinates have 16 bits behind the point
_RAMP = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2))
_UNCHANGED = np.tile(np.arange(256, dtype=np.uint8), (3, 1))


class Look(NamedTuple):
    """Of one view of one picture.

    Attributes:
        levels: What becomes of each level of each colour, ``(3, 256)`` uint8.
        color: Factor of the distance from grey.
        sharpness: Factor of the distance from the smoothed picture.
        affine: Where pixels come from, see `transforms.AFFINE`.
        scaled: Width and height before the crop.
        corner: Left and top of the crop in it.
    """

    levels: np.ndarray
    color: float
    sharpness: float
    affine: tuple[float, ...]
    scaled: tuple[int, int]
    corner: tuple[int, int]


def drawn_look(image: Image.Image, *, size: int, fit: str, augment: str, rng: random.Random) -> Look:
    """Draw what `transforms.training_view` draws of an ``RGB`` picture, with ``augment`` none or randaugment."""
    look = Look(_UNCHANGED, 1.0, 1.0, _IDENTITY, (0, 0), (0, 0))
    if augment == "randaugment":
        look = _operation(image, look, rng)
    scaled, corner = placed(image.size, size, fit, None if augment == "none" else rng)
    return look._replace(scaled=scaled, corner=corner)


def _operation(image: Image.Image, look: Look, rng: random.Random) -> Look:
    name = rng.choice(NAMES)
    if name in AFFINE:
        amount, matrix = AFFINE[name]
        return look._replace(affine=matrix(signed(amount, rng)))
    if name == "rotate":
        return look._replace(affine=_rotation(image.size, signed(ROTATION, rng)))
    if name == "color":
        return look._replace(color=enhancement(rng))
    if name == "sharpness":
        return look._replace(sharpness=enhancement(rng))
    if name in ("autocontrast", "equalize"):  # rarely done, and levels depend on the whole picture
        return look._replace(levels=_levels_between(image, OPERATIONS[name](image, rng)))
    if name == "contrast":
        mean = int(ImageStat.Stat(image.convert("L")).mean[0] + 0.5)
        changed = Image.blend(Image.new("RGB", _RAMP.size, (mean,) * 3), _RAMP, enhancement(rng))
    else:
        changed = OPERATIONS[name](_RAMP, rng)
    return look._replace(levels=np.asarray(changed)[0].T)


def _levels_between(before: Image.Image, after: Image.Image) -> np.ndarray:
    """The map of levels that made one picture of the other; of levels that it has not, any."""
    if after is before:
        return _UNCHANGED
    levels = _UNCHANGED.copy()
    for channel, (old, new) in enumerate(zip(before.split(), after.split(), strict=True)):
        levels[channel, np.asarray(old).ravel()] = np.asarray(new).ravel()
    return levels


def _rotation(image_size: tuple[int, int], degrees: float) -> tuple[float, ...]:
    """About the centre, counter-clockwise; rounded as Pillow does."""
    angle, (x, y) = -math.radians(degrees % 360.0), (side / 2 for side in image_size)
    cosine, sine = round(math.cos(angle), 15), round(math.sin(angle), 15)
    return cosine, sine, x - cosine * x - sine * y, -sine, cosine, y + sine * x - cosine * y


class Looks(NamedTuple):
    """One view of N pictures.

    Attributes:
        levels_N3K: ``(N, 3, 256)`` uint8.
        factors_N2: Colour and sharpness, float32.
        affine_N6: Of the centres of pixels, in 1 / 65536 of a pixel, int64.
        place_N4: Scaled width and height, left and top, int64.
    """

    levels_N3K: Tensor
    factors_N2: Tensor
    affine_N6: Tensor
    place_N4: Tensor

    @classmethod
    def of(cls, looks: Sequence[Look]) -> Self:
        """Those of a batch."""
        a, b, c, d, e, f = np.array([look.affine for look in looks]).T
        centred = np.stack([a, b, c + 0.5 * (a + b), d, e, f + 0.5 * (d + e)], axis=1)
        return cls(
            torch.from_numpy(np.stack([look.levels for look in looks])),
            torch.tensor([(look.color, look.sharpness) for look in looks]),
            torch.from_numpy(np.floor(centred * _FIXED + 0.5).astype(np.int64)),
            torch.tensor([(*look.scaled, *look.corner) for look in looks]),
        )

    def applied(self, pictures_NHW3: Tensor, sizes_N2: Tensor, size: int) -> Tensor:
        """The view, on the device where all of this is.

        Args:
            pictures_NHW3: uint8, anything below and to the right of each.
            sizes_N2: Rows and columns of each, int64.
            size: S.

        Returns:
            ``(N, 3, S, S)`` uint8, channels last in memory.
        """
        n, h, w = pictures_NHW3.shape[:3]
        x = pictures_NHW3.permute(0, 3, 1, 2).reshape(n, 3, h * w)
        x = self.levels_N3K.gather(2, x.long()).view(n, 3, h, w).int()
        rows, columns = (side.view(n, 1, 1) for side in sizes_N2.T)
        color, sharpness = (factor.view(n, 1, 1, 1) for factor in self.factors_N2.T)
        x = _blended(_grey(x), x, color)
        x = _blended(_smoothed(x, rows, columns), x, sharpness)
        x = _moved(x, self.affine_N6.view(n, 6, 1, 1).unbind(1), rows, columns)
        width, height, left, top = self.place_N4.view(n, 4, 1).unbind(1)
        with arithmetic(deterministic=True):
            across, in_x = _scaling(columns, width, left, size, w)
            down, in_y = _scaling(rows, height, top, size, h)
            x = down.unsqueeze(1) @ (x.float() @ across.transpose(1, 2).unsqueeze(1))
        inside = (in_y.unsqueeze(2) & in_x.unsqueeze(1)).unsqueeze(1)
        return (x + 0.5).masked_fill(~inside, 255).to(torch.uint8).contiguous(memory_format=torch.channels_last)


def _blended(other: Tensor, x: Tensor, factor: Tensor) -> Tensor:
    return (other + factor * (x - other)).clamp(0, 255).int()


def _grey(x_N3HW: Tensor) -> Tensor:
    """Luma of Rec. 601 in 16 bits behind the point, ``(N, 1, H, W)``."""
    red, green, blue = x_N3HW.unbind(1)
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).unsqueeze(1)


def _smoothed(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Mean of 3 x 3 pixels, of which the middle counts five times; a picture's border stays."""
    h, w = x.shape[-2:]
    if min(h, w) < 3:
        return x
    three = x[..., :-2, :] + x[..., 1:-1, :] + x[..., 2:, :]
    total = three[..., :-2] + three[..., 1:-1] + three[..., 2:] + 4 * x[..., 1:-1, 1:-1]
    soft = x.clone()
    soft[..., 1:-1, 1:-1] = torch.div(2 * total + 13, 26, rounding_mode="floor")
    y, z = (torch.arange(length, device=x.device) for length in (h, w))
    return torch.where(((y.view(-1, 1) < rows - 1) & (z < columns - 1)).unsqueeze(1), soft, x)


def _moved(x: Tensor, affine: Sequence[Tensor], rows: Tensor, columns: Tensor) -> Tensor:
    """Each pixel is the one that its centre comes from, black from outside."""
    n, _, h, w = x.shape
    a, b, c, d, e, f = affine
    across, down = torch.arange(w, device=x.device), torch.arange(h, device=x.device).view(-1, 1)
    column, row = (a * across + b * down + c) >> 16, (d * across + e * down + f) >> 16
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    index = (row * w + column).masked_fill(~inside, 0).view(n, 1, h * w).expand(-1, 3, -1)
    return x.view(n, 3, h * w).gather(2, index).view(n, 3, h, w).masked_fill(~inside.unsqueeze(1), 0)


def _scaling(length: Tensor, scaled: Tensor, start: Tensor, size: int, longest: int) -> tuple[Tensor, Tensor]:
    """Weights of a picture's pixels in those of a crop along one axis, ``(N, S, L)``, and where it has any, ``(N, S)``.

    A triangle as wide as two pixels of the coarser of both grids; weights add up to 1.
    """
    place = torch.arange(size, device=length.device) + start.view(-1, 1)
    ratio = length.double() / scaled.view(-1, 1, 1)
    pixels = torch.arange(longest, device=length.device)
    away = (pixels + 0.5 - (place.unsqueeze(2) + 0.5) * ratio).abs() / ratio.clamp_min(1)
    weights = (1 - away).clamp_min(0) * (pixels < length)
    weights = weights / weights.sum(dim=2, keepdim=True).clamp_min(1e-9)
    return weights.float(), (place >= 0) & (place < scaled.view(-1, 1))
