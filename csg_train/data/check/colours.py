"""Contact sheets of pictures with masks: each picture beside itself under its mask's colours."""

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from csg_train.data.readers.driving import LABELS
from csg_train.data.readers.masks import IGNORE, MaskedSet, picture_and_mask
from csg_train.errors import UserError
from csg_train.files import atomic_write

__all__ = ["class_colours", "mask_sheet", "overlay"]

Colour = tuple[int, int, int]
_GAP, _CAPTION, _LEGEND = 6, 12, 18
_INK, _PAPER, _BAD = (20, 20, 20), (255, 255, 255), (190, 0, 0)
_GOLDEN = 0.618034  # turns of the colour circle from class to class: neighbours in the list differ


def class_colours(classes: Sequence[str]) -> tuple[Colour, ...]:
    """A colour for each class: Cityscapes' own where all names are of its table, else spread hues, background black."""
    known = {label.name: label.colour for label in LABELS}
    if set(classes) <= set(known):
        return tuple(known[name] for name in classes)
    hues = [
        colorsys.hsv_to_rgb(place * _GOLDEN % 1, 0.8, 0.9 if name != "background" else 0)
        for place, name in enumerate(classes)
    ]
    return tuple((round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in hues)


def overlay(picture: Image.Image, mask_HW: np.ndarray, colours: Sequence[Colour], *, strength: float) -> Image.Image:
    """Mix a picture with its mask's colours, ``strength`` of them; ignored pixels stay as they are."""
    table = np.zeros((256, 3))
    table[: len(colours)] = colours
    pixels_HW3 = np.array(picture, dtype=np.float64)
    known_HW = mask_HW != IGNORE
    pixels_HW3[known_HW] += strength * (table[mask_HW[known_HW]] - pixels_HW3[known_HW])
    return Image.fromarray(np.rint(pixels_HW3).astype(np.uint8))


def mask_sheet(images: MaskedSet, out: Path, *, size: int = 128, columns: int = 6) -> None:
    """Write a PNG sheet: a legend of the classes, then pictures, each beside itself under its mask.

    It has 60 pairs at most, evenly spaced over the files; one that does not decode or fit shows its name in red.

    Args:
        images: What to show.
        out: The PNG file.
        size: Longer side of a picture on the sheet in pixels.
        columns: Pairs in a row.

    Raises:
        UserError: The sheet cannot be written.
    """
    number = min(len(images), 60)
    chosen = [place * len(images) // number for place in range(number)]
    colours = class_colours(images.classes)
    cell, legend_rows = 2 * size + 2 * _GAP, -(-len(images.classes) // columns)
    top = _GAP + _LEGEND * (1 + legend_rows)
    rows = -(-len(chosen) // columns)
    sheet = Image.new("RGB", (_GAP + columns * cell, top + rows * (size + _CAPTION + _GAP)), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    pen.text((_GAP, 2), f"{images.name}: {len(images)} pictures, {len(chosen)} shown", fill=_INK, font=font)
    for place, (name, colour) in enumerate(zip(images.classes, colours, strict=True)):
        corner = (_GAP + place % columns * cell, _LEGEND * (1 + place // columns))
        pen.rectangle((*corner, corner[0] + 12, corner[1] + 12), fill=colour)
        pen.text((corner[0] + 18, corner[1]), name, fill=_INK, font=font)
    for place, index in enumerate(chosen):
        corner = (_GAP + place % columns * cell, top + place // columns * (size + _CAPTION + _GAP))
        caption, ink = Path(images.files[index]).stem, _INK
        try:
            picture, mask_HW = picture_and_mask(images, index)
            for step, strength in ((0, 0.0), (size, 0.7)):
                shown = overlay(picture, mask_HW, colours, strength=strength)
                shown.thumbnail((size, size), Image.Resampling.LANCZOS)
                sheet.paste(shown, (corner[0] + step, corner[1]))
        except UserError:
            caption, ink = f"bad: {caption}", _BAD
        pen.text((corner[0], corner[1] + size), caption, fill=ink, font=ImageFont.load_default(9))
    atomic_write(out, lambda stream: sheet.save(stream, format="PNG"))
